"""The kinds of feed-forward half.

Contract: `settings.build(dims)` returns a module that maps (B, T, C) to (B, T, C), each token by itself. Its
output projection is called `output`, those of several experts `experts.0.output` and so on. Settings whose units stand
each by itself name the layers that make them.
"""

from __future__ import annotations

from abc import abstractmethod
from fractions import Fraction
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.model.dims import LARGEST_DIM, LayerDims


class FeedForwardSettings(Settings):
    """Settings of every kind of feed-forward half."""

    chooses_experts: ClassVar[bool] = False
    """Whether a token is computed by a few of several experts: then a small change of it can make a large one."""

    unit_layers: ClassVar[tuple[str, ...]] = ()
    """The layers whose outputs are the units that the output projection reads, each unit by itself: a half can be made
    narrower by leaving units out. Empty if it has none such."""

    kind: str
    hidden_dim: int | None = Field(default=None, gt=0, le=LARGEST_DIM)
    """The width between the two layers; chosen from the model's width if None."""
    bias: bool = False
    """Whether the layers have biases."""

    @abstractmethod
    def build(self, dims: LayerDims) -> nn.Module:
        """A module of this kind."""

    @abstractmethod
    def width(self, dims: LayerDims) -> int:
        """The width between the two layers."""

    def active_width(self, dims: LayerDims) -> int:
        """The numbers between the two layers that are computed for a token."""
        return self.width(dims)

    def active_share(self, name: str) -> Fraction:
        """The share of tokens that a parameter of the model is used for: all, unless a kind chooses among several."""
        return Fraction(1)


KINDS = Kinds(__name__, FeedForwardSettings, default="mlp")
AnyFeedForward = Annotated[FeedForwardSettings, KINDS]
