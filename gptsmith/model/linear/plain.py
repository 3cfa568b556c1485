"""A matrix and, where asked for, a bias."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from gptsmith.model.linear import LinearMap, LinearSettings


class PlainLinearSettings(LinearSettings):
    """y = x W' + b."""

    kind: Literal["plain"] = "plain"

    def build(self, in_dim: int, out_dim: int, bias: bool, name: str) -> PlainLinear:
        return PlainLinear(in_dim, out_dim, bias=bias)


class PlainLinear(nn.Linear, LinearMap):
    """A linear map that computes in the dtype of its input, whatever its weights are kept in."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return functional.linear(x, self.weight.to(x.dtype), bias)

    def matrix(self) -> Tensor:
        return self.weight

    def share(self, weight: Tensor) -> None:
        self.weight = weight

    def take(self, weight: Tensor) -> None:
        self.weight.copy_(weight)
