"""Locally banded attention: in every second layer (Brown et al. 2020, section 2.1; Child et al. 2019), in all of them
(Mistral's sliding window, Jiang et al. 2023), or in those that are named."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.model.attention import AttentionSettings, causal_mask
from gptsmith.model.attention.full import FullAttention
from gptsmith.model.config import GPTConfig


class BandedAttentionSettings(AttentionSettings):
    """In some layers each token sees only a band before it; in the others attention is full."""

    kind: Literal["banded"] = "banded"
    band_tokens: int = Field(default=256, gt=0)
    """How many tokens a banded layer sees, itself included. GPT-3's figure was not published."""
    layers: Literal["odd", "all"] | list[int] = "odd"
    """Which layers are banded, counted from 0."""

    def is_banded(self, layer: int) -> bool:
        """Whether a layer sees only a band."""
        return bool(layer % 2) if self.layers == "odd" else self.layers == "all" or layer in self.layers

    def build(self, config: GPTConfig, layer: int) -> FullAttention:
        return (
            BandedAttention(config, layer, self.band_tokens) if self.is_banded(layer) else FullAttention(config, layer)
        )


class BandedAttention(FullAttention):
    """softmax(QK'/sqrt d_k)V over the nearest tokens."""

    knows_distance = True

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
