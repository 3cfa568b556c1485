"""Layer normalisation (Ba, Kiros and Hinton 2016, equation 4)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptsmith.model.norm import FrozenNorm, NormSettings


class LayerNormSettings(NormSettings):
    """(x - mean) / deviation, with a gain and a bias."""

    kind: Literal["layernorm"] = "layernorm"

    def build(self, dim: int) -> LayerNorm:
        return LayerNorm(dim, eps=self.epsilon)


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` that computes in the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)

    def frozen(self, x: Tensor) -> FrozenNorm:
        """The linear map that it is for inputs of the scale of `x` (..., C)."""
        inverse = torch.rsqrt(x.var(dim=-1, keepdim=True, correction=0) + self.eps)
        return FrozenNorm(inverse * self.weight.to(x.dtype), is_centred=True, bias=self.bias.to(x.dtype))
