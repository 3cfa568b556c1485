"""Granite: Llama with multipliers of embeddings, attention, residuals and logits (IBM 2024; Yang et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.convert.families import Family, GGUFArchitecture, Setting, Table
from gptsmith.convert.families.llama import EXTRA, FIXED, SHAPE, WEIGHTS
from gptsmith.model.config import GPTConfig


@dataclass(frozen=True)
class AttentionMultiplier:
    """The scale of the products of queries and keys: the usual one is written out, too."""

    @property
    def keys(self) -> Sequence[str]:
        return ("attention_multiplier",)

    def read(self, config: Mapping[str, Any]) -> Table:
        return {"attention": {"scale": config.get("attention_multiplier", 1.0)}}

    def write(self, shape: GPTConfig) -> Table:
        scale = shape.attention.scale
        return {"attention_multiplier": shape.resolved_head_dim**-0.5 if scale is None else scale}


FAMILY = Family(
    model_type="granite",
    architecture="GraniteForCausalLM",
    gguf=GGUFArchitecture(
        "granite",
        is_interleaved=True,
        scalings=("linear", "yarn", "llama3"),
        settings=(
            Setting("attention.scale", "attention.scale", None),
            Setting("embedding_scale", "embedding_multiplier", 1.0),
            Setting("residual_scale", "residual_multiplier", 1.0),
            Setting("logit_scale", "logits_scaling"),
        ),
    ),
    preset="smith with attention.qk_norm=false",
    fixed=FIXED,
    settings=(
        *SHAPE,
        Setting("head_dim", "head_dim", None),
        Setting("attention_bias", "attention.bias", False),
        Setting("attention_bias", "attention.output_bias", False),
        Setting("mlp_bias", "feedforward.bias", False),
        Setting("embedding_multiplier", "embedding_multiplier", 1.0),
        Setting("residual_multiplier", "residual_multiplier", 1.0),
        Setting("logits_scaling", "logits_scaling", 1.0),
        AttentionMultiplier(),
    ),
    weights=WEIGHTS,
    prefix="model.",
    extra=EXTRA,
    extends="llama",
)
