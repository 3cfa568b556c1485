"""Sliding-window attention: in every second layer (GPT-3's locally banded attention, Brown et al. 2020, section 2.1;
Child et al. 2019), in all of them (Jiang et al. 2023), or in those that are named."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.model.attention import AttentionSettings, causal_mask
from gptsmith.model.attention.full import FullAttention
from gptsmith.model.config import GPTConfig


class SlidingWindowAttentionSettings(AttentionSettings):
    """In some layers each token attends to a window of the tokens before it; in the others attention is full."""

    kind: Literal["sliding_window"] = "sliding_window"
    window_size: int = Field(default=256, gt=0)
    """Tokens that such a layer attends to, itself included. GPT-3's figure was not published."""
    layers: Literal["odd", "all"] | list[int] = "odd"
    """Which layers have a window, counted from 0."""

    def is_windowed(self, layer: int) -> bool:
        """Whether a layer has a window."""
        return bool(layer % 2) if self.layers == "odd" else self.layers == "all" or layer in self.layers

    def build(self, config: GPTConfig, layer: int) -> FullAttention:
        return (
            SlidingWindowAttention(config, layer, self.window_size)
            if self.is_windowed(layer)
            else FullAttention(config, layer)
        )


class SlidingWindowAttention(FullAttention):
    """softmax(QK'/sqrt d_k)V over the nearest tokens."""

    knows_distance = True

    def __init__(self, config: GPTConfig, layer: int, window_size: int) -> None:
        super().__init__(config, layer)
        self.window_size = window_size

    def mix(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        T, S = queries.shape[2], keys.shape[2]
        if self.window_size < S:
            window = causal_mask(T, S, queries.device) & ~torch.tril(
                torch.ones(T, S, dtype=torch.bool, device=queries.device), S - T - self.window_size
            )
            mask = window if mask is None else mask & window
        return super().mix(queries, keys, values, mask, bias)
