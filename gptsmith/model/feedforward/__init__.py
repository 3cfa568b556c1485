"""The kinds of feed-forward half.

Contract: `settings.build(dims)` returns a module that maps (B, T, C) to (B, T, C), each token by itself. Its map
back to the width is called `output`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from pydantic import Field
from torch import nn

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.model.dims import LayerDims


class FeedForwardSettings(Settings):
    """What every kind of feed-forward half has."""

    kind: str
    hidden_dim: int | None = Field(default=None, gt=0)
    """The width between the two maps; chosen from the model's width where it is not given."""
    bias: bool = False
    """Whether the maps have biases."""

    @abstractmethod
    def build(self, dims: LayerDims) -> nn.Module:
        """A module of this kind."""

    @abstractmethod
    def width(self, dims: LayerDims) -> int:
        """The width between the two maps."""


KINDS = Kinds(__name__, FeedForwardSettings, default="mlp")
AnyFeedForward = Annotated[FeedForwardSettings, KINDS]
