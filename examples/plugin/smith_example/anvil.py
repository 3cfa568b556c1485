"""A family of models: those of a program of our own, which calls Qwen3's shape by another name."""

from __future__ import annotations

from dataclasses import replace

from gptsmith.convert.families import qwen3

FAMILY = replace(qwen3.FAMILY, model_type="anvil", architecture="AnvilForCausalLM", gguf=None)
