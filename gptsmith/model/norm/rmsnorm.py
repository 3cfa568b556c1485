"""Root mean square normalisation (Zhang and Sennrich 2019, equation 4)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from gptsmith.model.norm import NormSettings


class RMSNormSettings(NormSettings):
    """x / root mean square, with a gain."""

    kind: Literal["rmsnorm"] = "rmsnorm"
    epsilon: float = 1e-6

    def build(self, dim: int) -> RMSNorm:
        return RMSNorm(dim, eps=self.epsilon)


class RMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` that computes in the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
