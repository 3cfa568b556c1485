"""The product with a float matrix, by all threads of a processor."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WORTH_THREADS = 1 << 20
"""Products of fewer multiplications finish before a second thread has started."""


WIDENED_ELEMENTS = 1 << 18
"""How much of a matrix is widened at a time, so that it stays in a cache."""


def dense_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W' + b in x's dtype for `x` (..., in) and a matrix (out, in) in any. A processor that needs no gradient widens
    some rows after the other: there is never a second matrix."""
    if weight.dtype != x.dtype:
        if x.device.type == "cpu" and not torch.is_grad_enabled() and weight.numel() > WIDENED_ELEMENTS:
            rows = torch.split(weight, max(1, WIDENED_ELEMENTS // weight.shape[1]))
            whole = torch.cat([dense_linear(x, part.to(x.dtype), None) for part in rows], dim=-1)
            return whole if bias is None else whole.add_(bias.to(x.dtype))
        weight = weight.to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    if _profits_from_threads(x, weight):
        return product_by_threads(x, weight, bias)
    return functional.linear(x, weight, bias)


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
