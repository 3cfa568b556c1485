"""OLMo 2: the output of each half is normalised, and queries and keys as whole vectors (OLMo team 2025)."""

from __future__ import annotations

from gptsmith.convert.families import Family, GGUFArchitecture, Only, Setting, Weight
from gptsmith.convert.families.llama import EXTRA, FIXED, SHAPE, WEIGHTS
from gptsmith.convert.families.qwen3 import NORMS

INPUT_NORMS = {"blocks.{layer}.attention_norm", "blocks.{layer}.feedforward_norm"}
OUTPUT_NORMS = (
    Weight(
        "blocks.{layer}.attention_output_norm",
        "model.layers.{layer}.post_attention_layernorm",
        "blk.{layer}.post_attention_norm",
    ),
    Weight(
        "blocks.{layer}.feedforward_output_norm",
        "model.layers.{layer}.post_feedforward_layernorm",
        "blk.{layer}.post_ffw_norm",
    ),
)

FAMILY = Family(
    model_type="olmo2",
    architecture="Olmo2ForCausalLM",
    gguf=GGUFArchitecture(
        "olmo2",
        has_head_dim=False,
        fixed={"attention.bias": False, "attention.output_bias": False, "tie_embeddings": False},
        settings=(Only("attention.sliding_window", 0),),
    ),
    preset="smith with norm_placement=output and attention.qk_norm_per_head=false",
    fixed=FIXED
    | {"attention": {"kind": "full", "qk_norm": True, "qk_norm_per_head": False}, "norm_placement": "output"},
    settings=(
        *SHAPE,
        Setting("rms_norm_eps", "norm.epsilon", 1e-5),
        Setting("attention_bias", "attention.bias", False),
        Setting("attention_bias", "attention.output_bias", False),
    ),
    weights=(*(weight for weight in WEIGHTS if INPUT_NORMS.isdisjoint(weight.parts)), *OUTPUT_NORMS, *NORMS),
    prefix="model.",
    extra=EXTRA,
)
