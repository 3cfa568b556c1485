"""Rotary positions with a base of their own in some layers: those that see a window of near tokens (Gemma 3, 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field
from torch import Tensor

from gptsmith.model.dims import LayerDims, renumbered
from gptsmith.model.position import Position, PositionSettings
from gptsmith.model.position.rotary import RotaryPosition
from gptsmith.model.rotary_scaling import RotaryScaling


class LocalRotaryPositionSettings(PositionSettings):
    """Rotary positions with two bases: a small one in local layers, a large one in the others."""

    kind: Literal["local_rotary"] = "local_rotary"
    base: float = Field(default=1_000_000.0, gt=1)
    """The base in layers that are not local: see `rotary`."""
    scaling: RotaryScaling | None = None
    """How the frequencies of these layers are changed for longer contexts; not at all if None."""
    local_base: float = Field(default=10_000.0, gt=1)
    """The base in local layers."""
    local_layers: list[int] = Field(default=[])
    """Which layers are local, counted from 0: usually those with a sliding window."""

    def build(self, dims: LayerDims) -> LocalRotaryPosition:
        return LocalRotaryPosition(self, dims)

    def of_layers(self, kept: Sequence[int]) -> Self:
        return self.model_copy(update={"local_layers": renumbered(self.local_layers, kept)})


class LocalRotaryPosition(Position):
    """Two rotary positions, each in its own layers."""

    def __init__(self, settings: LocalRotaryPositionSettings, dims: LayerDims) -> None:
        super().__init__()
        self.everywhere = RotaryPosition(dims.head_dim, settings.base, settings.scaling)
        self.local = RotaryPosition(dims.head_dim, settings.local_base)
        self.local_layers = frozenset(settings.local_layers)

    def rotation(self, ids: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        return self.everywhere.rotation(ids), self.local.rotation(ids)

    def rotate(self, x: Tensor, rotation: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]], layer: int) -> Tensor:
        everywhere, local = rotation
        if layer in self.local_layers:
            return self.local.rotate(x, local, layer)
        return self.everywhere.rotate(x, everywhere, layer)
