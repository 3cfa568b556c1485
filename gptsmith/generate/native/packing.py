"""Matrices as compiled code reads them: 16 rows side by side, four columns of each at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.generate.native.errors import UnsupportedModelError
from gptsmith.generate.native.products import GROUP
from gptsmith.generate.native.vectors import LANES
from gptsmith.model.kernels.block_formats import Groups

ZEROS = (8, 16, 32, 128)
"""Integers that stand for zero in the formats that have no offsets of their own."""
TILES_AT_A_TIME = 64


@dataclass(frozen=True)
class PackedMatrix:
    """A matrix for `products.multiply`.

    Attributes:
        fields: numbers of `products.MATRIX`.
        tensors: what its addresses point at.
    """

    fields: Mapping[str, int]
    tensors: Mapping[str, Tensor]


def packed_floats(weight: Tensor) -> PackedMatrix:
    """A matrix (out, in) of float32 or bfloat16, row by row: itself, where its rows fill tiles."""
    weight = weight.detach()
    if weight.dtype not in (torch.float32, torch.bfloat16):
        weight = weight.float()
    weight = functional.pad(weight, (0, 0, 0, -len(weight) % LANES)).contiguous() if len(weight) % LANES else weight
    fields = {"bits": 8 * weight.itemsize, "num_tiles": len(weight) // LANES, "num_columns": weight.shape[1]}
    return PackedMatrix(fields, {"weights": weight})


def packed_groups(groups: Groups) -> PackedMatrix:
    """A matrix of integers of at most 8 bits in groups of 32 or 16 of a row, or in one group a row.

    Raises:
        UnsupportedModelError: its groups are of another size.
    """
    out_dim, num_groups, size = groups.integers.shape
    num_columns, is_row = num_groups * size, num_groups == 1 and size != GROUP
    if size not in (GROUP, GROUP // 2) and not is_row:
        raise UnsupportedModelError(f"weights in groups of {size}")
    most = int(groups.integers.max())
    bits = 8 if is_row or size != GROUP or most > 31 else 5 if most > 15 else 4
    zero = next((zero for zero in ZEROS if torch.equal(groups.offset, -zero * groups.scale)), None)
    num_tiles = -(-out_dim // LANES)
    fields = {"bits": bits, "num_tiles": num_tiles, "num_columns": num_columns, "zero": zero or 0}
    tensors: dict[str, Tensor] = {}
    integers = _tiles(groups.integers.reshape(out_dim, num_columns), num_tiles)
    if bits == 8:
        tensors["weights"] = integers
    else:
        low, high = (integers & 15).chunk(2, dim=2)
        tensors["weights"] = (low | (high << 4)).contiguous()
        if bits == 5:
            tensors["fifths"] = _fifths(integers >> 4)
    if is_row:
        tensors["row_scales"] = functional.pad(groups.scale[:, 0].float(), (0, -out_dim % LANES))
        assert zero is not None, "one group a row has no offset"
        return PackedMatrix(fields, tensors)
    fields["group"] = size
    fields["scale_bytes"] = 2 if all(_fits_half(part) for part in (groups.scale, groups.offset)) else 4
    dtype = torch.float16 if fields["scale_bytes"] == 2 else torch.float32
    tensors["scales"] = _by_lane(groups.scale, num_tiles, dtype)
    if zero is None:
        tensors["minimums"] = _by_lane(groups.offset, num_tiles, dtype)
    return PackedMatrix(fields, tensors)


def _tiles(integers: Tensor, num_tiles: int) -> Tensor:
    """(out, in) as (tiles, groups of 32, 8, 16 rows, 4 columns), uint8, a few tiles at a time."""
    packed = torch.zeros(num_tiles, integers.shape[1] // GROUP, GROUP // 4, LANES, 4, dtype=torch.uint8)
    for start in range(0, num_tiles, TILES_AT_A_TIME):
        rows = integers[start * LANES : (start + TILES_AT_A_TIME) * LANES]
        rows = functional.pad(rows, (0, 0, 0, -len(rows) % LANES))
        tiles = rows.view(-1, LANES, packed.shape[1], GROUP // 4, 4).permute(0, 2, 3, 1, 4)
        packed[start : start + len(tiles)] = tiles
    return packed


def _fifths(bits: Tensor) -> Tensor:
    """Bits (tiles, groups, 8, 16, 4) as bytes: for each of four pairs of quads, those of the first, then of the
    second."""
    tiles, groups = bits.shape[:2]
    pairs = bits.view(tiles, groups, 2, 4, -1).transpose(2, 3)  # (tiles, groups, 4, 2, 64)
    eights = pairs.reshape(tiles, groups, 64, 8)
    return (eights << torch.arange(8, dtype=torch.uint8)).sum(dim=-1).to(torch.uint8)


def _fits_half(values: Tensor) -> bool:
    return torch.equal(values.half().float(), values.float())


def _by_lane(values: Tensor, num_tiles: int, dtype: torch.dtype) -> Tensor:
    """Numbers (out, groups) as (tiles, groups, 16 rows)."""
    padded = functional.pad(values.float(), (0, 0, 0, num_tiles * LANES - len(values)))
    return padded.view(num_tiles, LANES, -1).transpose(1, 2).to(dtype).contiguous()
