"""Scale normalisation (Nguyen and Salazar 2019, equation 3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gptsmith.model.norm import NormSettings


class ScaleNormSettings(NormSettings):
    """g x / |x|, with one gain g."""

    kind: Literal["scalenorm"] = "scalenorm"

    def build(self, dim: int) -> ScaleNorm:
        return ScaleNorm(dim, self.epsilon)


class ScaleNorm(nn.Module):
    """g x / |x|, in the dtype of its input."""

    def __init__(self, dim: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.full((1,), dim**0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.to(x.dtype) * x / x.norm(dim=-1, keepdim=True).clamp_min(self.epsilon)
