"""A matrix of whole numbers from -127 to 127, with one scale a row: a quarter of float32's bytes."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptsmith.base.errors import ConfigurationError
from gptsmith.model.linear import LinearMap, LinearSettings
from gptsmith.model.linear.dense import DenseLinear

LARGEST = 127
"""The largest whole number: -128 is not used, so that a row and its negative are rounded alike."""
FEW_ROWS = 8
"""Up to so many rows of bfloat16, PyTorch's product with int8 is faster than one with a matrix made of it."""
KERNEL_BLOCK = 32
"""That product reads rows of the matrix in whole blocks, past their end where they are not a multiple of one."""
BLOCK_ELEMENTS = 1 << 19
"""How much of a matrix is turned into floats at a time on a processor, so that they stay in its cache."""


class Int8LinearSettings(LinearSettings):
    """y = (x W') s + b, W whole numbers and s a scale a row. The head stays plain, because it may be the embedding."""

    kind: Literal["int8"] = "int8"

    def build(self, in_dim: int, out_dim: int, bias: bool, name: str) -> LinearMap:
        return DenseLinear(in_dim, out_dim, bias=bias) if name == "head" else Int8Linear(in_dim, out_dim, bias)


class Int8Linear(LinearMap):
    """A linear map whose matrix is rounded row by row. Gradients reach its input, never the matrix.

    Attributes:
        weight: (out, in), int8.
        scale: (out), what a row's whole numbers are multiplied by.
    """

    def __init__(self, in_dim: int, out_dim: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim, dtype=torch.int8), requires_grad=False)
        self.scale = nn.Parameter(torch.empty(out_dim), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_dim)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = rounded_product(x, self.weight, self.scale)
        return y if self.bias is None else y + self.bias.to(x.dtype)

    def matrix(self) -> Tensor:
        return self.weight.to(self.scale.dtype) * self.scale[:, None]

    def take(self, weight: Tensor) -> None:
        values, scale = round_by_row(weight)
        self.weight.copy_(values)
        self.scale.copy_(scale)


def round_by_row(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest whole numbers (out, in), int8, and a scale a row (out), float32, whose product is near `weight`.

    A row's largest absolute value becomes 127, so nothing moves by more than half a scale. A row of zeros, or of
    numbers too small for a scale of float32, becomes zeros.

    Raises:
        ConfigurationError: a weight is not finite, or too large for float32.
    """
    scale = (weight.abs().amax(dim=1) / LARGEST).float()
    if sick := (~scale.isfinite()).nonzero().flatten().tolist():
        raise ConfigurationError(f"row {sick[0]} has a weight that is not a finite float32, and cannot be rounded")
    values = torch.where(scale[:, None] > 0, weight / scale[:, None], 0.0).round()
    return values.clamp(-LARGEST, LARGEST).to(torch.int8), scale


def rounded_product(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """x W' for `x` (..., in) and a matrix of int8 (out, in) with a scale a row (out): (..., out), in x's dtype."""
    if torch.is_grad_enabled() and x.requires_grad:
        product: Tensor = _RoundedProduct.apply(x, weight, scale)  # type: ignore[no-untyped-call]
        return product
    if _has_kernel(x, weight):
        ones = torch.ones(len(weight), dtype=x.dtype)
        flat = torch.ops.aten._weight_int8pack_mm(x.reshape(-1, x.shape[-1]), weight, ones)
        whole = flat.view(*x.shape[:-1], len(weight))
    else:
        num_rows = max(1, BLOCK_ELEMENTS // weight.shape[1]) if x.device.type == "cpu" else len(weight)
        whole = torch.cat([functional.linear(x, rows.to(x.dtype)) for rows in torch.split(weight, num_rows)], dim=-1)
    # Whole numbers up to 127 are exact in bfloat16 and the scale is not: it comes last, and in its own dtype.
    return (whole * scale).to(x.dtype)


def plain_product(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """The same from the matrix that the whole numbers stand for: the plain twin."""
    return functional.linear(x, (weight.to(scale.dtype) * scale[:, None]).to(x.dtype))


def _has_kernel(x: Tensor, weight: Tensor) -> bool:
    """Whether PyTorch multiplies these as they are, and faster."""
    num_rows = x.numel() // max(x.shape[-1], 1)
    return (
        x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and 0 < num_rows <= FEW_ROWS
        and x.shape[-1] % KERNEL_BLOCK == 0
        and hasattr(torch.ops.aten, "_weight_int8pack_mm")
    )


class _RoundedProduct(torch.autograd.Function):
    """Keeps nothing for the backward pass but the whole numbers, which are there anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return rounded_product(x, weight, scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        (gradient,) = gradients
        return (gradient * scale).to(gradient.dtype) @ weight.to(gradient.dtype), None, None
