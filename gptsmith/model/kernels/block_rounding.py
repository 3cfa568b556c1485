"""Weights rounded to a block format: to the nearest, which are the same bytes as `gguf.quantize` and llama.cpp make of
them, or under scales that were chosen otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.model.kernels.block_formats import BlockFormat, Groups

LARGEST_FLOAT16 = 65504.0


@dataclass(frozen=True)
class Grid:
    """The weights that a group can hold: `scale * integer + offset`.

    Attributes:
        least: the smallest integer.
        most: the largest.
        zero: the integer that stands for 0; None if the format keeps an offset of its own for each group.
    """

    least: int
    most: int
    zero: int | None

    def offset(self, scale: Tensor, offset: Tensor) -> Tensor:
        """The offset that goes with a scale: `offset` where the format keeps one."""
        return offset if self.zero is None else -self.zero * scale

    def nearest_integers(self, weights: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        """The nearest integers for weights, float32."""
        return ((weights - offset) * inverse(scale)).round_().clamp_(self.least, self.most)


GRIDS = {
    "q4_0": Grid(0, 15, 8), "q4_1": Grid(0, 15, None), "q5_0": Grid(0, 31, 16), "q5_1": Grid(0, 31, None),
    "q8_0": Grid(1, 255, 128),
}  # fmt: skip
"""What the formats that weights can be rounded to hold."""


def quantize_blocks(weight: Tensor, form: BlockFormat) -> Tensor:
    """The rows (out, row_bytes) of the weights (out, in) nearest to these.

    Raises:
        UserError: nothing rounds to that format, a row is no whole blocks, or a weight is not finite, or too large.
    """
    require_fitting(weight, form)
    blocks = weight.float().reshape(-1, form.block_size)
    packed: Tensor = PACKERS[form.name](*NEAREST[form.name](blocks))
    return packed.view(len(weight), -1)


def pack_groups(groups: Groups, form: BlockFormat) -> Tensor:
    """The rows (out, row_bytes) that hold groups (out, G, 32) of a format's grid, whose scales are float16's."""
    out_dim, _, size = groups.integers.shape
    blocks = groups.integers.reshape(-1, size), groups.scale.reshape(-1, 1), groups.offset.reshape(-1, 1)
    return PACKERS[form.name](*blocks).view(out_dim, -1)


def require_fitting(weight: Tensor, form: BlockFormat) -> None:
    """
    Raises:
        UserError: nothing rounds to that format, a row is no whole blocks, or a weight is not finite, or too large.
    """
    if form.name not in GRIDS:
        raise UserError(f"weights cannot be rounded to {form.name} (allowed: {', '.join(GRIDS)})")
    if weight.shape[1] % form.block_size:
        raise UserError(
            f"rows of {weight.shape[1]:,} are no whole blocks of {form.block_size}, which {form.name} needs"
        )
    if not bool((weight.abs() <= LARGEST_FLOAT16).all()):
        raise UserError("a weight is not finite, or larger than float16 can be, and cannot be quantized")


def inverse(scale: Tensor) -> Tensor:
    """1 / scale, and 0 where that is 0."""
    return torch.where(scale == 0, 0.0, 1 / scale)


def _around_zero(blocks: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Integers (N, 32), uint8, with half of their range for zero, and a scale (N, 1): the largest by size gets 0."""
    half = 1 << (bits - 1)
    largest = blocks.gather(1, blocks.abs().argmax(dim=1, keepdim=True))
    scale = largest / -half
    integers = (blocks * inverse(scale) + (half + 0.5)).trunc().clamp(0, 2 * half - 1)
    return integers.to(torch.uint8), scale, largest


def _from_minimum(blocks: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Integers (N, 32), uint8, a scale and the smallest weight (N, 1), which gets 0."""
    most = (1 << bits) - 1
    smallest = blocks.amin(dim=1, keepdim=True)
    scale = (blocks.amax(dim=1, keepdim=True) - smallest) / most
    integers = ((blocks - smallest) * inverse(scale) + 0.5).trunc().clamp(0, most)
    return integers.to(torch.uint8), scale, smallest


def _signed(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Integers (N, 32), uint8, of which 128 is zero, and a scale (N, 1)."""
    scale = blocks.abs().amax(dim=1, keepdim=True) / 127
    shares = blocks * inverse(scale)
    size = shares.abs()
    whole = size.floor()
    rounded = (whole + (2 * (size - whole)).floor()) * shares.sign()  # halves away from zero
    return (rounded + 128).to(torch.uint8), scale, -128 * scale


NEAREST: dict[str, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]] = {
    "q4_0": lambda blocks: _around_zero(blocks, 4),
    "q4_1": lambda blocks: _from_minimum(blocks, 4),
    "q5_0": lambda blocks: _around_zero(blocks, 5),
    "q5_1": lambda blocks: _from_minimum(blocks, 5),
    "q8_0": _signed,
}
"""Blocks (N, 32) to integers (N, 32), scales and offsets (N, 1), by format. Scales, and offsets that are kept, become
float16 after the integers were chosen, as in llama.cpp."""


def _float16(numbers: Tensor) -> Tensor:
    return numbers.half().view(torch.uint8)


def _nibbles(integers: Tensor) -> Tensor:
    """The low 4 bits of integers (N, 32) in 16 bytes: the first half low, the second high."""
    return (integers[:, :16] & 15) | (integers[:, 16:] << 4)


def _fifth_bits(integers: Tensor) -> Tensor:
    """The fifth bits of integers (N, 32) in 4 bytes."""
    weights = 1 << torch.arange(8, device=integers.device)
    return ((integers >> 4).view(-1, 4, 8) * weights).sum(dim=-1).to(torch.uint8)


def _pack_q4_0(integers: Tensor, scale: Tensor, _: Tensor) -> Tensor:
    return torch.cat((_float16(scale), _nibbles(integers)), dim=1)


def _pack_q4_1(integers: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    return torch.cat((_float16(scale), _float16(offset), _nibbles(integers)), dim=1)


def _pack_q5_0(integers: Tensor, scale: Tensor, _: Tensor) -> Tensor:
    return torch.cat((_float16(scale), _fifth_bits(integers), _nibbles(integers)), dim=1)


def _pack_q5_1(integers: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    return torch.cat((_float16(scale), _float16(offset), _fifth_bits(integers), _nibbles(integers)), dim=1)


def _pack_q8_0(integers: Tensor, scale: Tensor, _: Tensor) -> Tensor:
    return torch.cat((_float16(scale), integers ^ 128), dim=1)


PACKERS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "q4_0": _pack_q4_0, "q4_1": _pack_q4_1, "q5_0": _pack_q5_0, "q5_1": _pack_q5_1, "q8_0": _pack_q8_0,
}  # fmt: skip
"""Integers (N, 32), scales and offsets (N, 1) to the bytes (N, block_bytes) of a format."""
