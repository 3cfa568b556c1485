"""Rotary positions (Su et al. 2021, equation 34), halves rotated together as in Llama and Qwen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.model.dims import LayerDims, renumbered
from gptsmith.model.kernels.rotary import apply_rotary
from gptsmith.model.position import Position, PositionSettings
from gptsmith.model.rotary_scaling import RotaryScaling


class RotaryPositionSettings(PositionSettings):
    """Rotates pairs of a head's dimensions by angles that grow with the position."""

    kind: Literal["rotary"] = "rotary"
    base: float = Field(default=100_000.0, gt=1)
    """The slowest pair rotates by about 1 / base per token."""
    scaling: RotaryScaling | None = None
    """How the frequencies are changed for longer contexts; not at all if None."""
    partial_rotary_factor: float = Field(default=1.0, gt=0, le=1)
    """The part of each head's dimensions, from the first on, that is rotated (GPT-NeoX)."""
    layers: Literal["all"] | list[int] = "all"
    """Which layers rotate, counted from 0; the others do not see positions (SmolLM3)."""

    def build(self, dims: LayerDims) -> RotaryPosition:
        return RotaryPosition(int(dims.head_dim * self.partial_rotary_factor), self.base, self.scaling, self.layers)

    def of_layers(self, kept: Sequence[int]) -> Self:
        return self if self.layers == "all" else self.model_copy(update={"layers": renumbered(self.layers, kept)})


class RotaryPosition(Position):
    """Rotates queries and keys, so that their product depends on how far apart they stand."""

    def __init__(
        self,
        rotary_dim: int,
        base: float,
        scaling: RotaryScaling | None = None,
        layers: Literal["all"] | Sequence[int] = "all",
    ) -> None:
        """
        Args:
            rotary_dim: R, the dimensions of a head that are rotated.
        """
        super().__init__()
        if rotary_dim % 2 or not rotary_dim:
            raise ValueError(f"rotary positions rotate an even number of a head's dimensions, not {rotary_dim}")
        self.rotary_dim, self.base, self.scaling, self.layers = rotary_dim, base, scaling, layers

    def rotation(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        exponents = torch.arange(0, self.rotary_dim, 2, device=ids.device, dtype=torch.float32) / self.rotary_dim
        # Rounded in this order, as other programs do: far from the beginning another order gives other angles.
        frequencies = 1.0 / self.base**exponents
        if self.scaling is not None:
            frequencies = self.scaling.scale(frequencies, self.base)
        angles = ids.float()[..., None] * frequencies  # (T, R/2) or (B, T, R/2)
        if angles.dim() == 3:
            angles = angles[:, None]  # (B, 1, T, R/2)
        magnitude = 1.0 if self.scaling is None else self.scaling.magnitude
        cos, sin = angles.cos() * magnitude, angles.sin() * magnitude
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)

    def rotate(self, x: Tensor, rotation: tuple[Tensor, Tensor], layer: int) -> Tensor:
        if self.layers != "all" and layer not in self.layers:
            return x
        cos, sin = (part.to(x.dtype) for part in rotation)
        if self.rotary_dim == x.shape[-1]:
            return apply_rotary(x, cos, sin)
        rotated, rest = x[..., : self.rotary_dim], x[..., self.rotary_dim :]  # (B, H, T, R), (B, H, T, D - R)
        return torch.cat((apply_rotary(rotated, cos, sin), rest), dim=-1)
