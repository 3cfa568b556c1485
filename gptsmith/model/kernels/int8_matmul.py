"""Rounded inputs times rounded matrices: whole numbers with whole numbers, by the kernel that the processor is best at.

Sums of whole numbers are exact, so no row of a product depends on which others are multiplied with it. For writing
only: no gradient passes.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from gptsmith.model.linear import LinearMap
from gptsmith.model.linear.int8 import LARGEST, Int8Linear

LARGEST_BESIDE_ANOTHER = 63
"""The largest whole number of an input where two products are added in 16 bits: 2 x 63 x 127 fits, 2 x 127 x 127 moved
to where bytes begin does not."""
LEAST_INPUT = 1e-30
"""An input with nothing larger is zero."""


class WholeLinear(LinearMap):
    """A rounded map that rounds its inputs too, each row by its own scale.

    Attributes:
        product: what it multiplies with, together with other maps that read the same input.
        columns: which of the product are its own.
    """

    def __init__(self, product: WholeProduct, columns: slice) -> None:
        super().__init__()
        self.product, self.columns = product, columns

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x)[..., self.columns]

    def together(self, x: Tensor, others: Sequence[LinearMap]) -> list[Tensor]:
        maps = [linear for linear in (self, *others) if isinstance(linear, WholeLinear)]
        if any(linear.product is not self.product for linear in maps):
            return super().together(x, others)
        found = self.product(x)
        return [found[..., linear.columns] for linear in maps]

    def matrix(self) -> Tensor:
        return self.product.kernel.matrix()[self.columns]


class WholeProduct:
    """x W' + b in x's dtype, for inputs (..., in) and the rows of one or several rounded maps (out, in)."""

    def __init__(self, maps: Sequence[Int8Linear]) -> None:
        self.kernel = best_kernel()(
            torch.cat([linear.weight for linear in maps]), torch.cat([linear.scale for linear in maps]).float()
        )
        biases = [torch.zeros_like(linear.scale) if linear.bias is None else linear.bias for linear in maps]
        self.bias = torch.cat(biases).float() if any(linear.bias is not None for linear in maps) else None
        self._num_rows = [len(linear.weight) for linear in maps]

    def __call__(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1]).float()
        largest = flat.abs().amax(dim=1, keepdim=True).clamp_min_(LEAST_INPUT)
        y = self.kernel(flat / largest)
        y = y.mul_(largest) if self.bias is None else torch.addcmul(self.bias, y, largest)
        return y.to(x.dtype).view(*x.shape[:-1], -1)

    def maps(self) -> list[WholeLinear]:
        """Those that it was made of."""
        ends = torch.tensor(self._num_rows).cumsum(0).tolist()
        return [WholeLinear(self, slice(end - count, end)) for end, count in zip(ends, self._num_rows, strict=True)]


class Kernel(ABC):
    """A matrix of whole numbers (out, in) with a scale a row (out), ready to be multiplied with."""

    @abstractmethod
    def __call__(self, shares: Tensor) -> Tensor:
        """Its products (N, out), float32, with inputs (N, in) from -1 to 1, rounded."""

    @abstractmethod
    def matrix(self) -> Tensor:
        """What its whole numbers stand for (out, in)."""


class PlainKernel(Kernel):
    """By PyTorch's product of two matrices of whole numbers: the plain twin."""

    def __init__(self, weight: Tensor, scale: Tensor, largest: int = LARGEST) -> None:
        self.weight, self.scale, self.largest = weight, scale, largest

    def __call__(self, shares: Tensor) -> Tensor:
        values = (shares * self.largest).round().to(torch.int8)
        return torch._int_mm(values, self.weight.t()) * (self.scale / self.largest)

    def matrix(self) -> Tensor:
        return self.weight * self.scale[:, None]


class PackedKernel(Kernel):
    """By fbgemm, which PyTorch brings for processors of the x86 family."""

    def __init__(self, weight: Tensor, scale: Tensor, largest: int | None = None) -> None:
        self.largest = largest or largest_input()
        usual, torch.backends.quantized.engine = torch.backends.quantized.engine, "fbgemm"
        with warnings.catch_warnings():
            # PyTorch means to give up tensors of this sort, and packs no other yet.
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
            zeros = torch.zeros(len(weight), dtype=torch.long)
            rows = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
        self.packed = torch.ops.quantized.linear_prepack(rows, None)
        torch.backends.quantized.engine = usual

    def __call__(self, shares: Tensor) -> Tensor:
        # It takes bytes from 0 on, so that what stands for zero is moved up.
        return torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            shares, 1 / self.largest, self.largest + 1, self.packed
        )

    def matrix(self) -> Tensor:
        return torch.ops.quantized.linear_unpack(self.packed)[0].dequantize()


@cache
def best_kernel() -> Callable[[Tensor, Tensor], Kernel]:
    """The kernel for this processor."""
    is_there = hasattr(torch.ops.quantized, "linear_with_input_q_dq_qweight_dq_output_fp32")
    return PackedKernel if is_there and "fbgemm" in torch.backends.quantized.supported_engines else PlainKernel


@cache
def largest_input() -> int:
    """The largest whole number of an input for which fbgemm is exact on this processor: without VNNI it adds two
    products in 16 bits, and stops at their largest number."""
    ones = torch.ones(1, 64)
    found = PackedKernel((ones * LARGEST).to(torch.int8), torch.ones(1), LARGEST)(ones)
    return LARGEST if round(float(found)) == 64 * LARGEST else LARGEST_BESIDE_ANOTHER
