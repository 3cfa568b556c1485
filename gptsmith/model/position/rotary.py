"""Rotary positions (Su et al. 2021, equation 34), halves rotated together as in Llama and Qwen."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.model.dims import LayerDims
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

    def build(self, dims: LayerDims) -> RotaryPosition:
        return RotaryPosition(dims.head_dim, self.base, self.scaling)


class RotaryPosition(Position):
    """Rotates queries and keys, so that their product depends on how far apart they stand."""

    def __init__(self, head_dim: int, base: float, scaling: RotaryScaling | None = None) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"rotary positions need an even head width, not {head_dim}")
        self.head_dim, self.base, self.scaling = head_dim, base, scaling

    def rotation(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        exponents = torch.arange(0, self.head_dim, 2, device=ids.device, dtype=torch.float32) / self.head_dim
        # Rounded in this order, as other programs do: far from the beginning another order gives other angles.
        frequencies = 1.0 / self.base**exponents
        if self.scaling is not None:
            frequencies = self.scaling.scale(frequencies, self.base)
        angles = ids.float()[..., None] * frequencies  # (T, D/2) or (B, T, D/2)
        if angles.dim() == 3:
            angles = angles[:, None]  # (B, 1, T, D/2)
        magnitude = 1.0 if self.scaling is None else self.scaling.magnitude
        cos, sin = angles.cos() * magnitude, angles.sin() * magnitude
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)

    def rotate(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        cos, sin = (part.to(x.dtype) for part in rotation)
        return apply_rotary(x, cos, sin)
