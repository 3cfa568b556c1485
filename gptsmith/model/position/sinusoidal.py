"""Sines and cosines of geometrically falling frequency (Vaswani et al. 2017, section 3.5)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gptsmith.model.dims import LayerDims
from gptsmith.model.position import Position, PositionSettings


class SinusoidalPositionSettings(PositionSettings):
    """PE(p, 2i) = sin(p / 10000^(2i/C)), PE(p, 2i+1) = cos(p / 10000^(2i/C))."""

    kind: Literal["sinusoidal"] = "sinusoidal"

    def build(self, dims: LayerDims) -> SinusoidalPosition:
        return SinusoidalPosition()


def sinusoidal_encoding(ids: Tensor, dim: int) -> Tensor:
    """The encodings (..., dim) of positions `ids` (...), in float64.

    Raises:
        ValueError: `dim` is odd.
    """
    if dim % 2:
        raise ValueError(f"sinusoidal positions need an even width, not {dim}")
    # On a CPU, because not every device has float64.
    exponents = torch.arange(0, dim, 2, dtype=torch.float64) / dim
    angles = ids.cpu().double()[..., None] / 10000.0**exponents
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


class SinusoidalPosition(Position):
    """Adds the encoding to each token's embedding."""

    def embed(self, x: Tensor, ids: Tensor) -> Tensor:
        return x + sinusoidal_encoding(ids, x.shape[-1]).to(x)
