"""Products with weights in block formats: in blocks that are unpacked one after the other, which is the plain twin and
has gradients, and for few inputs by PyTorch's kernel for integers of 4 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.model.kernels.block_formats import BlockFormat, Groups
from gptsmith.model.kernels.dense_matmul import dense_linear

BLOCK_ELEMENTS = 1 << 19
"""How much of a matrix is unpacked at a time on a processor, so that it stays in its cache."""
FEW_ROWS = 96
"""Up to so many inputs, the kernel for 4 bits is faster than unpacking; half as many for integers that are two of 4."""
TILE_ROWS = 64
"""It keeps so many rows together, one after the other: these can be packed apart."""
SHORTLIST = 256
"""The logits of an input that are not rounded: the largest."""
KERNEL_ROWS = 16
"""That kernel makes outputs by so many."""
KERNEL_GROUPS = (32, 64, 128, 256)
"""The sizes of groups that it knows."""


def grouped_linear(x: Tensor, packed: Tensor, form: BlockFormat) -> Tensor:
    """x W' in x's dtype for `x` (..., in) and the rows of a matrix (out, row_bytes). Gradients reach x; nothing is kept
    for them but the packed rows. No more of the matrix is unpacked at a time than a cache holds."""
    if torch.is_grad_enabled() and x.requires_grad:
        product: Tensor = _GroupedLinear.apply(x, packed, form)  # type: ignore[no-untyped-call]
        return product
    parts = [dense_linear(x, rows, None) for rows in _unpacked(packed, form, x.dtype)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def _unpacked(packed: Tensor, form: BlockFormat, dtype: torch.dtype) -> Iterator[Tensor]:
    """The weights (some rows, in), as many rows at a time as a cache holds; all at once on a GPU."""
    num_rows = max(1, BLOCK_ELEMENTS // form.num_weights(packed.shape[1]))
    for rows in torch.split(packed, num_rows if packed.device.type == "cpu" else len(packed)):
        yield form.weights(rows).to(dtype)


class _GroupedLinear(torch.autograd.Function):
    """Keeps nothing for the backward pass but the packed matrix, which is there anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Tensor, form: BlockFormat) -> Tensor:
        ctx.save_for_backward(packed)
        ctx.form = form
        return grouped_linear(x, packed, form)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (packed,), (gradient,) = ctx.saved_tensors, gradients
        result, start = gradient.new_zeros(*gradient.shape[:-1], ctx.form.num_weights(packed.shape[1])), 0
        for rows in _unpacked(packed, ctx.form, gradient.dtype):
            part = gradient[..., start : start + len(rows)]
            result.view(-1, rows.shape[1]).addmm_(part.reshape(-1, len(rows)), rows)
            start += len(rows)
        return result, None, None


class GroupedMatmul:
    """x W' + b in x's dtype for inputs (..., in), where no gradient is needed.

    For few inputs, these and the outputs are rounded to bfloat16, and so are the scales of groups; sums are in
    float32. An integer of more than 4 bits is two of 4, side by side, for which each input is there twice.

    Args:
        matrices: (out, row_bytes) each: their outputs come one after the other.
        bias: for all outputs, or None.
    """

    def __init__(self, matrices: Sequence[Tensor], form: BlockFormat, bias: Tensor | None) -> None:
        self.matrices, self.form = list(matrices), form
        self.bias = None if bias is None else bias.float()
        self.num_parts = 1 if form.bits <= 4 else 2
        self.kernel_weights: Tensor | None = None
        if has_kernel(matrices, form):
            self._pack()

    def _pack(self) -> None:
        """Puts the integers as the kernel wants them, which reads (integer - 8) * scale + offset."""
        weights, scales = [], []
        num_rows = max(1, BLOCK_ELEMENTS // self.matrices[0].shape[1] // TILE_ROWS) * TILE_ROWS
        whole = torch.cat(self.matrices)
        whole = functional.pad(whole, (0, 0, 0, -len(whole) % KERNEL_ROWS))  # rows of zeros
        for rows in torch.split(whole, num_rows):
            groups = self.form.groups(rows)
            parts = [groups] if self.num_parts == 1 else _halves(groups, self.form.bits)
            integers = torch.cat([part.integers.flatten(-2) for part in parts], dim=-1)
            weights.append(torch.ops.aten._convert_weight_to_int4pack_for_cpu(integers.int(), 1))
            pairs = [torch.stack((part.scale, part.offset + 8 * part.scale), dim=-1).bfloat16() for part in parts]
            scales.append(torch.cat(pairs, dim=1))
        self.kernel_weights = torch.cat(weights)
        self.kernel_scales = torch.cat(scales).transpose(0, 1).contiguous()  # (groups, out, 2)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        if self.kernel_weights is None or len(flat) > FEW_ROWS // self.num_parts:
            y = torch.cat([grouped_linear(flat, packed, self.form) for packed in self.matrices], dim=-1)
        else:
            few = flat.bfloat16()
            few = few if self.num_parts == 1 else torch.cat((few, few), dim=-1)
            group = self.form.group_size
            y = torch.ops.aten._weight_int4pack_mm_for_cpu(few, self.kernel_weights, group, self.kernel_scales)
            y = y[:, : sum(map(len, self.matrices))].contiguous()
        y = y.to(x.dtype)
        if self.bias is not None:
            y = y + self.bias.to(x.dtype)
        return y.view(*x.shape[:-1], y.shape[-1])

    def matrix(self) -> Tensor:
        """The dequantized matrix (out, in)."""
        return torch.cat([self.form.weights(packed) for packed in self.matrices])


class ShortlistMatmul(GroupedMatmul):
    """The product of a head: of few inputs, the largest outputs are computed again, in float32. Rounded to bfloat16,
    the logits of several tokens would be the same, and the first of them would be taken for the likeliest."""

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        y = super().__call__(x)
        flat, outputs = x.reshape(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        if self.kernel_weights is None or len(flat) > FEW_ROWS // self.num_parts or y.shape[-1] <= SHORTLIST:
            return y
        (packed,) = self.matrices
        for row, output in zip(flat, outputs, strict=True):
            largest = output.topk(SHORTLIST, sorted=False).indices
            exact = grouped_linear(row[None], packed[largest], self.form)[0]
            output[largest] = exact if self.bias is None else exact + self.bias[largest].to(x.dtype)
        return y


def _halves(groups: Groups, bits: int) -> list[Groups]:
    """Integers of more than 4 bits as two of 4, whose weights add up. The high ones lie round 8, which the kernel takes
    for zero, so that the rounding of the scales moves no weight by more than its share."""
    zero = 0 if bits == 8 else 8
    high = Groups((groups.integers >> 4) + zero, 16 * groups.scale, -16 * zero * groups.scale)
    return [
        Groups(high.integers, high.scale, -8 * high.scale),
        Groups(groups.integers & 15, groups.scale, groups.offset + high.offset + 8 * high.scale),
    ]


def has_kernel(matrices: Sequence[Tensor], form: BlockFormat) -> bool:
    """Whether PyTorch has a fast kernel for such matrices on this processor."""
    return matrices[0].device.type == "cpu" and form.group_size in KERNEL_GROUPS and processor_has_kernel()


@cache
def processor_has_kernel() -> bool:
    """Whether the kernel is written for this processor: elsewhere it is slower than unpacking."""
    is_there = hasattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu")
    return is_there and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
