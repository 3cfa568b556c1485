"""Qwen3: queries and keys are normalised (Yang et al. 2025). Our default model is of this family."""

from __future__ import annotations

from gptsmith.convert.families import Family, GGUFArchitecture, Setting, Weight
from gptsmith.convert.families.llama import EXTRA, FIXED, SHAPE, WEIGHTS
from gptsmith.convert.window import SomeLayers

NORMS = (
    Weight("blocks.{layer}.attention.query_norm", "model.layers.{layer}.self_attn.q_norm", "blk.{layer}.attn_q_norm"),
    Weight("blocks.{layer}.attention.key_norm", "model.layers.{layer}.self_attn.k_norm", "blk.{layer}.attn_k_norm"),
)

FAMILY = Family(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    gguf=GGUFArchitecture("qwen3", fixed={"attention.output_bias": False}),
    preset="smith",
    fixed=FIXED | {"attention": {"kind": "full", "qk_norm": True}},
    settings=(
        SomeLayers(),
        *SHAPE,
        Setting("head_dim", "head_dim", 128),
        Setting("attention_bias", "attention.bias", False),
        Setting("attention_bias", "attention.output_bias", False),
    ),
    weights=(*WEIGHTS, *NORMS),
    prefix="model.",
    extra=EXTRA,
)
