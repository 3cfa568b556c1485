"""Dynamic int8: quantized activations times quantized matrices, by the kernel that the processor is best at.

Sums of integers are exact, so no row of a product depends on which others are multiplied with it. For inference only:
no gradient passes.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from gptsmith.model.kernels.int8_weights import INT8_MAX

INPUT_MAX_WITHOUT_VNNI = 63
"""The largest integer of an input where two products are added in 16 bits: 2 x 63 x 127 fits, 2 x 127 x 127 moved to
where bytes begin does not."""
MIN_INPUT = 1e-30
"""An input with nothing larger is zero."""


class Int8Matmul:
    """x W' + b in x's dtype for inputs (..., in), each row of which is quantized by its own scale.

    Args:
        weight: (out, in), int8.
        scale: (out), what a row's integers are multiplied by.
        bias: (out) or None.
    """

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        self.kernel = best_kernel()(weight, scale.float())
        self.bias = None if bias is None else bias.float()

    def __call__(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1]).float()  # (..., in) -> (N, in)
        largest = flat.abs().amax(dim=1, keepdim=True).clamp_min_(MIN_INPUT)  # (N, 1)
        y = self.kernel(flat / largest)
        y = y.mul_(largest) if self.bias is None else torch.addcmul(self.bias, y, largest)
        return y.to(x.dtype).view(*x.shape[:-1], -1)

    def matrix(self) -> Tensor:
        """The dequantized matrix (out, in)."""
        return self.kernel.matrix()


class Kernel(ABC):
    """An int8 matrix (out, in) with a scale a row (out), ready to be multiplied with."""

    @abstractmethod
    def __call__(self, shares: Tensor) -> Tensor:
        """Its products (N, out), float32, with inputs (N, in) from -1 to 1, which are quantized."""

    @abstractmethod
    def matrix(self) -> Tensor:
        """The dequantized matrix (out, in)."""


class PlainKernel(Kernel):
    """By PyTorch's product of two int8 matrices: the plain twin."""

    def __init__(self, weight: Tensor, scale: Tensor, input_max: int = INT8_MAX) -> None:
        self.weight, self.scale, self.input_max = weight, scale, input_max

    def __call__(self, shares: Tensor) -> Tensor:
        values = (shares * self.input_max).round().to(torch.int8)
        return torch._int_mm(values, self.weight.t()) * (self.scale / self.input_max)

    def matrix(self) -> Tensor:
        return self.weight * self.scale[:, None]


class PackedKernel(Kernel):
    """By fbgemm, which PyTorch brings for processors of the x86 family."""

    def __init__(self, weight: Tensor, scale: Tensor, input_max: int | None = None) -> None:
        self.input_max = input_max or largest_exact_input()
        usual, torch.backends.quantized.engine = torch.backends.quantized.engine, "fbgemm"
        with warnings.catch_warnings():
            # PyTorch means to give up tensors of this sort, and packs no other yet.
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
            zeros = torch.zeros(len(weight), dtype=torch.long)
            rows = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
        self.packed = torch.ops.quantized.linear_prepack(rows, None)
        torch.backends.quantized.engine = usual

    def __call__(self, shares: Tensor) -> Tensor:
        # It takes bytes from 0 on, so the zero point is moved up.
        return torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            shares, 1 / self.input_max, self.input_max + 1, self.packed
        )

    def matrix(self) -> Tensor:
        return torch.ops.quantized.linear_unpack(self.packed)[0].dequantize()


@cache
def best_kernel() -> Callable[[Tensor, Tensor], Kernel]:
    """The kernel for this processor."""
    is_there = hasattr(torch.ops.quantized, "linear_with_input_q_dq_qweight_dq_output_fp32")
    return PackedKernel if is_there and "fbgemm" in torch.backends.quantized.supported_engines else PlainKernel


@cache
def largest_exact_input() -> int:
    """The largest integer of an input for which fbgemm is exact on this processor: without VNNI it adds two products in
    16 bits, and saturates."""
    ones = torch.ones(1, 64)
    found = PackedKernel((ones * INT8_MAX).to(torch.int8), torch.ones(1), INT8_MAX)(ones)
    return INT8_MAX if round(float(found)) == 64 * INT8_MAX else INPUT_MAX_WITHOUT_VNNI
