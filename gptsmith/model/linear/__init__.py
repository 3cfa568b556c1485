"""The kinds of linear map.

Contract: `settings.build(in_dim, out_dim, bias, name)` returns a `LinearMap`, which maps (..., in_dim) to
(..., out_dim) in the dtype of its input. `name` says where in the model it stands, such as `attention.query`,
`feedforward.output` or `head`, so that a kind can treat some otherwise than others.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated

from torch import Tensor, nn

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings


class LinearMap(nn.Module):
    """What every kind builds."""

    @abstractmethod
    def matrix(self) -> Tensor:
        """The matrix (out, in) that it multiplies with."""

    def share(self, weight: Tensor) -> None:
        """Multiplies with `weight` from now on: only for the head, whose rows may be the embedding's."""
        raise NotImplementedError

    def take(self, weight: Tensor) -> None:
        """Multiplies with the values of `weight` (out, in) from now on, or with the nearest that it can hold."""
        raise NotImplementedError

    def together(self, x: Tensor, others: Sequence[LinearMap]) -> list[Tensor]:
        """Its product with x and those of others of its kind: one after the other, unless a kind knows better."""
        return [linear(x) for linear in (self, *others)]


def products(x: Tensor, *maps: LinearMap) -> list[Tensor]:
    """What each of several maps makes of one input."""
    if all(type(linear) is type(maps[0]) for linear in maps):
        return maps[0].together(x, maps[1:])
    return [linear(x) for linear in maps]


def maps_of(model: nn.Module) -> dict[str, LinearMap]:
    """A model's linear maps by their place, such as `blocks.0.attention.query`; one that is part of another is not
    named."""
    maps = {place: module for place, module in model.named_modules() if isinstance(module, LinearMap)}
    return {place: module for place, module in maps.items() if place.rpartition(".")[0] not in maps}


class LinearSettings(Settings):
    """What every kind of linear map has."""

    kind: str

    @abstractmethod
    def build(self, in_dim: int, out_dim: int, bias: bool, name: str) -> LinearMap:
        """A map of this kind."""

    def complete(self, model: nn.Module) -> None:
        """What is left to do once all maps of a model are built: nothing, for most kinds."""


KINDS = Kinds(__name__, LinearSettings, default="dense")
AnyLinear = Annotated[LinearSettings, KINDS]
