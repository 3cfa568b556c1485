"""Dropout whose random numbers cost little on a processor (Srivastava et al. 2014)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

STEPS = 1 << 16
"""An element takes 16 random bits, so that a fraction is met to 1/65,536."""
ELEMENTS_PER_DRAW = 4
"""In the 64 bits of one draw of PyTorch's generator, which is the slow part: PyTorch's own dropout draws for each."""


class Dropout(nn.Module):
    """In training, sets each element to 0 with probability `fraction` and divides the others by 1 - `fraction`."""

    def __init__(self, fraction: float) -> None:
        super().__init__()
        self.fraction = fraction

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.fraction:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return functional.dropout(x, self.fraction)
        num_dropped = min(round(self.fraction * STEPS), STEPS - 1)
        kept = _random_steps(x.shape) >= num_dropped - STEPS // 2
        return torch.where(kept, x * (STEPS / (STEPS - num_dropped)), torch.zeros((), dtype=x.dtype))

    def extra_repr(self) -> str:
        return f"fraction={self.fraction}"


def _random_steps(shape: torch.Size) -> Tensor:
    """Uniform random integers of 16 bits, from -32,768 to 32,767."""
    num_elements = math.prod(shape)
    draws = torch.empty(-(-num_elements // ELEMENTS_PER_DRAW), dtype=torch.int64)
    draws.random_(torch.iinfo(torch.int64).min, None)
    return draws.view(torch.int16)[:num_elements].view(shape)
