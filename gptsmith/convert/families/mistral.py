"""Mistral: Llama with a sliding window (Jiang et al. 2023)."""

from __future__ import annotations

from gptsmith.convert.families import Family, Setting
from gptsmith.convert.families.llama import EXTRA, FIXED, GGUF, SHAPE, WEIGHTS
from gptsmith.convert.window import EveryLayer

FAMILY = Family(
    model_type="mistral",
    architecture="MistralForCausalLM",
    gguf=GGUF,
    preset="smith with attention.qk_norm=false",
    fixed=FIXED | {"attention": {"kind": "full", "qk_norm": False, "bias": False}},
    settings=(EveryLayer(), *SHAPE, Setting("head_dim", "head_dim", None)),
    weights=WEIGHTS,
    prefix="model.",
    extra=EXTRA,
)
