"""Root mean square normalisation (Zhang and Sennrich 2019, equation 4)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gptsmith.model.kernels.norm import rms_norm
from gptsmith.model.norm import FrozenNorm, NormSettings


class RMSNormSettings(NormSettings):
    """x / root mean square, with a gain."""

    kind: Literal["rmsnorm"] = "rmsnorm"
    epsilon: float = 1e-6
    """Added to the mean square, so that a zero vector does not divide by zero."""

    def build(self, dim: int) -> RMSNorm:
        return RMSNorm(dim, self.epsilon)


class RMSNorm(nn.Module):
    """x / root mean square, with a gain, in the dtype of its input."""

    def __init__(self, dim: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight.to(x.dtype), self.epsilon)

    def frozen(self, x: Tensor) -> FrozenNorm:
        """The linear map that it is for inputs of the scale of `x` (..., C)."""
        inverse = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + self.epsilon)
        return FrozenNorm(inverse * self.weight.to(x.dtype))
