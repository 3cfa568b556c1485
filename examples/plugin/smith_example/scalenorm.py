"""ScaleNorm: one gain for the whole vector (Nguyen and Salazar 2019, equation 5)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptsmith.model.norm import NormSettings


class ScaleNormSettings(NormSettings):
    """g sqrt(C) x / |x|."""

    kind: Literal["scalenorm"] = "scalenorm"

    def build(self, dim: int) -> ScaleNorm:
        return ScaleNorm(dim, self.epsilon)


class ScaleNorm(nn.Module):
    """g sqrt(C) x / |x|, so that a gain of 1 gives every element a mean square of 1."""

    def __init__(self, dim: int, epsilon: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.scale = dim**0.5
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return self.gain.to(x.dtype) * self.scale * functional.normalize(x, dim=-1, eps=self.epsilon)
