"""A matrix and, if wanted, a bias."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptsmith.model.linear import LinearLayer, LinearSettings

WORTH_THREADS = 1 << 20
"""Products of fewer multiplications finish before a second thread has started."""


class DenseLinearSettings(LinearSettings):
    """y = x W' + b."""

    kind: Literal["dense"] = "dense"

    def build(self, in_dim: int, out_dim: int, bias: bool, name: str) -> DenseLinear:
        return DenseLinear(in_dim, out_dim, bias=bias)


class DenseLinear(nn.Linear, LinearLayer):
    """A linear layer that computes in the dtype of its input, whatever its weights are kept in."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype)
        if _profits_from_threads(x, weight):
            return product_by_threads(x, weight, bias)
        return functional.linear(x, weight, bias)

    def matrix(self) -> Tensor:
        return self.weight

    def tie(self, weight: Tensor) -> None:
        self.weight = weight

    def load_dense_weight(self, weight: Tensor) -> None:
        self.weight.copy_(weight)


def product_by_threads(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W' + b of float32 on a processor, by all of its threads: PyTorch's own product leaves few rows to one of them
    on some processors (MKL on AMD's). No gradient passes."""
    num_threads, out_dim = torch.get_num_threads(), len(weight)
    if x.numel() == x.shape[-1] and out_dim % num_threads == 0:
        rows = x.reshape(1, 1, -1).expand(num_threads, 1, -1)
        parts = weight.view(num_threads, -1, weight.shape[1]).mT
        whole = torch.bmm(rows, parts).view(*x.shape[:-1], out_dim)
        return whole if bias is None else whole.add_(bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _profits_from_threads(x: Tensor, weight: Tensor) -> bool:
    return (
        not torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() // x.shape[-1] * weight.numel() >= WORTH_THREADS
        and weight.is_contiguous()
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )
