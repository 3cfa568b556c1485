"""Qwen2 and Qwen2.5: Llama with biases on queries, keys and values (Yang et al. 2024)."""

from __future__ import annotations

from gptsmith.convert.families import Family, GGUFArchitecture, Setting
from gptsmith.convert.families.llama import EXTRA, FIXED, SHAPE, WEIGHTS
from gptsmith.convert.window import SomeLayers

FAMILY = Family(
    model_type="qwen2",
    architecture="Qwen2ForCausalLM",
    gguf=GGUFArchitecture("qwen2"),
    preset="smith with attention.qk_norm=false",
    fixed=FIXED | {"attention": {"kind": "full", "qk_norm": False, "bias": True, "output_bias": False}},
    settings=(SomeLayers(), *SHAPE, Setting("head_dim", "head_dim", None)),
    weights=WEIGHTS,
    prefix="model.",
    extra=EXTRA,
)
