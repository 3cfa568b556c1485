"""Weights rounded to the nearest of a block format: the same bytes as `gguf.quantize` and llama.cpp make of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.model.kernels.block_formats import BlockFormat

LARGEST_FLOAT16 = 65504.0


def quantize_blocks(weight: Tensor, form: BlockFormat) -> Tensor:
    """The rows (out, row_bytes) of the weights (out, in) nearest to these.

    Raises:
        UserError: nothing rounds to that format, a row is no whole blocks, or a weight is not finite, or too large.
    """
    if form.name not in ROUNDINGS:
        raise UserError(f"weights cannot be rounded to {form.name} (allowed: {', '.join(ROUNDINGS)})")
    out_dim, in_dim = weight.shape
    if in_dim % form.block_size:
        raise UserError(f"rows of {in_dim:,} are no whole blocks of {form.block_size}, which {form.name} needs")
    blocks = weight.float().reshape(-1, form.block_size)
    if not bool((blocks.abs() <= LARGEST_FLOAT16).all()):
        raise UserError("a weight is not finite, or larger than float16 can be, and cannot be quantized")
    return ROUNDINGS[form.name](blocks).view(out_dim, -1)


def _float16(numbers: Tensor) -> Tensor:
    return numbers.half().view(torch.uint8)


def _inverse(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 0.0, 1 / scale)


def _around_zero(blocks: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Integers (N, 32), uint8, with half of their range for zero, and a scale (N, 1): the largest by size gets 0."""
    half = 1 << (bits - 1)
    largest = blocks.gather(1, blocks.abs().argmax(dim=1, keepdim=True))
    scale = largest / -half
    integers = (blocks * _inverse(scale) + (half + 0.5)).trunc().clamp(0, 2 * half - 1)
    return integers.to(torch.uint8), scale


def _from_minimum(blocks: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Integers (N, 32), uint8, a scale and the smallest weight (N, 1), which gets 0."""
    most = (1 << bits) - 1
    smallest = blocks.amin(dim=1, keepdim=True)
    scale = (blocks.amax(dim=1, keepdim=True) - smallest) / most
    integers = ((blocks - smallest) * _inverse(scale) + 0.5).trunc().clamp(0, most)
    return integers.to(torch.uint8), scale, smallest


def _nibbles(integers: Tensor) -> Tensor:
    """The low 4 bits of integers (N, 32) in 16 bytes: the first half low, the second high."""
    return (integers[:, :16] & 15) | (integers[:, 16:] << 4)


def _fifth_bits(integers: Tensor) -> Tensor:
    """The fifth bits of integers (N, 32) in 4 bytes."""
    weights = 1 << torch.arange(8, device=integers.device)
    return ((integers >> 4).view(-1, 4, 8) * weights).sum(dim=-1).to(torch.uint8)


def _q4_0(blocks: Tensor) -> Tensor:
    integers, scale = _around_zero(blocks, 4)
    return torch.cat((_float16(scale), _nibbles(integers)), dim=1)


def _q4_1(blocks: Tensor) -> Tensor:
    integers, scale, smallest = _from_minimum(blocks, 4)
    return torch.cat((_float16(scale), _float16(smallest), _nibbles(integers)), dim=1)


def _q5_0(blocks: Tensor) -> Tensor:
    integers, scale = _around_zero(blocks, 5)
    return torch.cat((_float16(scale), _fifth_bits(integers), _nibbles(integers)), dim=1)


def _q5_1(blocks: Tensor) -> Tensor:
    integers, scale, smallest = _from_minimum(blocks, 5)
    return torch.cat((_float16(scale), _float16(smallest), _fifth_bits(integers), _nibbles(integers)), dim=1)


def _q8_0(blocks: Tensor) -> Tensor:
    scale = blocks.abs().amax(dim=1, keepdim=True) / 127
    shares = blocks * _inverse(scale)
    size = shares.abs()
    whole = size.floor()
    rounded = (whole + (2 * (size - whole)).floor()) * shares.sign()  # halves away from zero
    return torch.cat((_float16(scale), rounded.to(torch.int8).view(torch.uint8)), dim=1)


ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "q4_0": _q4_0, "q4_1": _q4_1, "q5_0": _q5_0, "q5_1": _q5_1, "q8_0": _q8_0,
}  # fmt: skip
"""Blocks (N, 32) to bytes (N, block_bytes), by format."""


def with_integers(packed: Tensor, integers: Tensor, form: BlockFormat) -> Tensor:
    """Rows (out, row_bytes) with the scales and minima of `packed` and other integers (out, groups, group_size)."""
    numbers = packed.view(-1, form.block_bytes)[:, : 2 * len(form.scale_places)]
    blocks = integers.to(torch.uint8).reshape(-1, form.block_size)
    if form.bits == 8:
        return torch.cat((numbers, blocks ^ 128), dim=1).view(packed.shape)
    fifth = [_fifth_bits(blocks)] if form.bits == 5 else []
    return torch.cat((numbers, *fifth, _nibbles(blocks)), dim=1).view(packed.shape)
