"""Weights of -1, 0 and 1 with one scale (Ma et al. 2024, BitNet b1.58, equation 3), trained through the rounding."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

from gptsmith.model.linear import LinearLayer, LinearSettings
from gptsmith.model.linear.dense import DenseLinear


class TernaryLinearSettings(LinearSettings):
    """y = x round(W / s)' s + b, with s the mean of |W|. The head stays dense."""

    kind: Literal["ternary"] = "ternary"

    def build(self, in_dim: int, out_dim: int, bias: bool, name: str) -> LinearLayer:
        return (DenseLinear if name == "head" else TernaryLinear)(in_dim, out_dim, bias=bias)


class TernaryLinear(DenseLinear):
    """A dense layer that computes with its rounded weights; gradients pass the rounding."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.matrix().to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))

    def matrix(self) -> Tensor:
        scale = self.weight.detach().abs().mean().clamp_min(1e-8)
        rounded = (self.weight.detach() / scale).round().clamp(-1, 1) * scale
        return self.weight + (rounded - self.weight.detach())
