"""Weight-only int8: floating-point inputs times matrices that are quantized row by row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.base.errors import UserError

INT8_MAX = 127
"""The largest integer of a matrix: -128 is not used, so that a row and its negative are quantized alike."""
FEW_ROWS = 8
"""Up to so many rows of bfloat16, PyTorch's product with int8 is faster than one with a dequantized matrix."""
KERNEL_BLOCK = 32
"""That product reads rows of the matrix in whole blocks, past their end where they are not a multiple of one."""
BLOCK_ELEMENTS = 1 << 19
"""How much of a matrix is turned into floats at a time on a processor, so that they stay in its cache."""


def quantize_per_row(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest integers (out, in), int8, and a scale a row (out), float32, whose product is near `weight`.

    A row's largest absolute value becomes 127, so nothing moves by more than half a scale. A row of zeros, or of
    numbers too small for a scale of float32, becomes zeros.

    Raises:
        UserError: a weight is not finite, or too large for float32.
    """
    scale = (weight.abs().amax(dim=1) / INT8_MAX).float()
    if nonfinite := (~scale.isfinite()).nonzero().flatten().tolist():
        raise UserError(f"row {nonfinite[0]} has a weight that is not a finite float32, and cannot be quantized")
    values = torch.where(scale[:, None] > 0, weight / scale[:, None], 0.0).round()
    return values.clamp(-INT8_MAX, INT8_MAX).to(torch.int8), scale


def int8_linear(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """x W' for `x` (..., in) and an int8 matrix (out, in) with a scale a row (out): (..., out), in x's dtype. Gradients
    reach x."""
    if torch.is_grad_enabled() and x.requires_grad:
        product: Tensor = _Int8Linear.apply(x, weight, scale)  # type: ignore[no-untyped-call]
        return product
    if _has_kernel(x, weight):
        ones = torch.ones(len(weight), dtype=x.dtype)
        flat = torch.ops.aten._weight_int8pack_mm(x.reshape(-1, x.shape[-1]), weight, ones)
        unscaled = flat.view(*x.shape[:-1], len(weight))
    else:
        num_rows = max(1, BLOCK_ELEMENTS // weight.shape[1]) if x.device.type == "cpu" else len(weight)
        blocks = torch.split(weight, num_rows)
        unscaled = torch.cat([functional.linear(x, rows.to(x.dtype)) for rows in blocks], dim=-1)
    # Integers up to 127 are exact in bfloat16 and the scale is not: it comes last, and in its own dtype.
    return (unscaled * scale).to(x.dtype)


def dequantized_linear(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """The same from the dequantized matrix: the plain twin."""
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


class _Int8Linear(torch.autograd.Function):
    """Keeps nothing for the backward pass but the int8 matrix, which is there anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(weight, scale)
        return int8_linear(x, weight, scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        (gradient,) = gradients
        return (gradient * scale).to(gradient.dtype) @ weight.to(gradient.dtype), None, None
