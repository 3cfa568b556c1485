"""A learned vector per position, as in GPT-1, GPT-2 and GPT-3."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from gptsmith.model.dims import LayerDims
from gptsmith.model.position import Position, PositionSettings


class LearnedPositionSettings(PositionSettings):
    """One vector for each position of the context."""

    kind: Literal["learned"] = "learned"

    def build(self, dims: LayerDims) -> LearnedPosition:
        return LearnedPosition(dims)


class LearnedPosition(Position):
    """Adds a learned vector to each token's embedding."""

    def __init__(self, dims: LayerDims) -> None:
        super().__init__()
        self.embedding = nn.Embedding(dims.context_length, dims.embed_dim)

    def embed(self, x: Tensor, ids: Tensor) -> Tensor:
        return x + self.embedding(ids)
