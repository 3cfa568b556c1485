"""Locally banded attention in every second layer (Brown et al. 2020, section 2.1; Child et al. 2019)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.model.attention import AttentionSettings, causal_mask
from gptsmith.model.attention.full import FullAttention
from gptsmith.model.config import GPTConfig


class BandedAttentionSettings(AttentionSettings):
    """Full attention in layers 0, 2, 4, ...; in the others each token sees only a band before it."""

    kind: Literal["banded"] = "banded"
    band_tokens: int = Field(default=256, gt=0)
    """How many tokens a banded layer sees, itself included. GPT-3's figure was not published."""

    def build(self, config: GPTConfig, layer: int) -> FullAttention:
        return BandedAttention(config, layer, self.band_tokens) if layer % 2 else FullAttention(config, layer)


class BandedAttention(FullAttention):
    """softmax(QK'/sqrt d_k)V over the nearest tokens."""

    def __init__(self, config: GPTConfig, layer: int, band_tokens: int) -> None:
        super().__init__(config, layer)
        self.band_tokens = band_tokens

    def mix(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        T, S = queries.shape[2], keys.shape[2]
        if self.band_tokens < S:
            band = causal_mask(T, S, queries.device) & ~torch.tril(
                torch.ones(T, S, dtype=torch.bool, device=queries.device), S - T - self.band_tokens
            )
            mask = band if mask is None else mask & band
        return super().mix(queries, keys, values, mask, bias)
