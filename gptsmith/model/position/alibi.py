"""Attention with linear biases (Press, Smith and Lewis 2022, section 3)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from gptsmith.model.dims import LayerDims
from gptsmith.model.position import Position, PositionSettings


class AlibiPositionSettings(PositionSettings):
    """Scores fall linearly with distance, for each head at a slope of its own."""

    kind: Literal["alibi"] = "alibi"

    def build(self, dims: LayerDims) -> AlibiPosition:
        return AlibiPosition(dims.num_heads)


def alibi_slopes(num_heads: int) -> list[float]:
    """The slopes of the heads: 2^(-8/n), 2^(-16/n), ... for n heads; between powers of two, every second slope of
    the next power fills up, as the paper's code does."""
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    return slopes + [2 ** (-4 * (2 * head + 1) / power) for head in range(num_heads - power)]


class AlibiPosition(Position):
    """Adds -slope * distance to the scores."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.slopes = alibi_slopes(num_heads)

    def bias(self, query_ids: Tensor, key_ids: Tensor) -> Tensor:
        distance = query_ids[..., :, None] - key_ids[..., None, :]  # (T, S) or (B, T, S)
        slopes = torch.tensor(self.slopes, device=distance.device)
        return -slopes[:, None, None] * distance.unsqueeze(-3)  # (H, T, S) or (B, H, T, S)
