"""The block formats of GGUF in which weights can stay: integers of a few bits, with a scale and an offset a group.

A weight is `scale * integer + offset`. A row of a matrix is whole blocks, one after the other, as uint8, byte for byte
as in a GGUF file (ggml-common.h): what is read from one is multiplied with, saved, and written to one as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

BITS = torch.arange(8, dtype=torch.uint8)
LOW_HALVES = 0x0F0F0F0F0F0F0F0F
FIFTH_BITS = (((torch.arange(256)[:, None] >> BITS) & 1) << 4).to(torch.uint8).view(torch.int64)[:, 0]
"""For each byte, its bits as eight bytes of 0 or 16."""


@dataclass(frozen=True)
class Groups:
    """Weights, unpacked but not multiplied out: `scale * integers + offset`.

    Attributes:
        integers: (..., groups, weights of a group), uint8.
        scale: (..., groups), float32.
        offset: (..., groups), float32.
    """

    integers: Tensor
    scale: Tensor
    offset: Tensor

    def weights(self) -> Tensor:
        """The weights (..., groups, weights of a group), float32."""
        return self.integers.float().mul_(self.scale[..., None]).add_(self.offset[..., None])


@dataclass(frozen=True)
class BlockFormat:
    """A format of blocks.

    Attributes:
        name: its name in GGUF, in small letters.
        bits: bits of an integer.
        group_size: weights that share a scale.
        block_size: weights of a block.
        block_bytes: bytes of a block.
        scale_places: where float16 numbers begin in a block.
        split: blocks (N, block_bytes), uint8, to their groups.
    """

    name: str
    bits: int
    group_size: int
    block_size: int
    block_bytes: int
    scale_places: tuple[int, ...]
    split: Callable[[Tensor], Groups]

    @property
    def bits_per_weight(self) -> float:
        """The bits that a weight takes with its share of scales and offsets."""
        return 8 * self.block_bytes / self.block_size

    def row_bytes(self, num_weights: int) -> int:
        """The bytes of so many weights, which are whole blocks."""
        return num_weights // self.block_size * self.block_bytes

    def num_weights(self, num_bytes: int) -> int:
        """The weights in so many bytes."""
        return num_bytes // self.block_bytes * self.block_size

    def scales(self, packed: Tensor) -> Tensor:
        """The float16 numbers (N, blocks) in rows: weights are finite where these are."""
        blocks = packed.view(-1, self.block_bytes)
        return torch.cat([_float16(blocks, place) for place in self.scale_places], dim=1)

    def groups(self, packed: Tensor) -> Groups:
        """The groups of rows (..., row_bytes): integers (..., G, group_size), scale and offset (..., G)."""
        found = self.split(packed.reshape(-1, self.block_bytes))
        lead = packed.shape[:-1]
        return Groups(
            found.integers.view(*lead, -1, self.group_size), found.scale.view(*lead, -1), found.offset.view(*lead, -1)
        )

    def weights(self, packed: Tensor) -> Tensor:
        """The weights (..., in) of rows (..., row_bytes), float32."""
        return self.groups(packed).weights().flatten(-2)


def _float16(blocks: Tensor, start: int) -> Tensor:
    """The float16 number (N, 1) at a place in each block, float32."""
    return blocks.view(torch.float16)[:, start // 2 : start // 2 + 1].float()


def _bytes(blocks: Tensor, start: int, stop: int | None = None) -> Tensor:
    """Some bytes of each block, in a tensor of their own: copied two by two, which is faster."""
    return blocks.view(torch.int16)[:, start // 2 : stop and stop // 2].contiguous().view(torch.uint8)


def _nibbles(packed: Tensor) -> Tensor:
    """The low halves of bytes (N, B), then their high halves: (N, 2, B). Eight bytes are one operation."""
    words = packed.view(torch.int64)
    return torch.stack((words & LOW_HALVES, (words >> 4) & LOW_HALVES), dim=1).view(torch.uint8)


def _fifth_bits(packed: Tensor) -> Tensor:
    """The bits (N, 32) of 4 bytes (N, 4), the lowest first, each as 0 or 16."""
    return FIFTH_BITS.to(packed.device)[packed.int()].view(torch.uint8)


def _q4_0(blocks: Tensor) -> Groups:
    scale = _float16(blocks, 0)
    return Groups(_nibbles(_bytes(blocks, 2)).flatten(1), scale, -8 * scale)


def _q4_1(blocks: Tensor) -> Groups:
    return Groups(_nibbles(_bytes(blocks, 4)).flatten(1), _float16(blocks, 0), _float16(blocks, 2))


def _q5_0(blocks: Tensor) -> Groups:
    scale = _float16(blocks, 0)
    return Groups(_nibbles(_bytes(blocks, 6)).flatten(1) | _fifth_bits(blocks[:, 2:6]), scale, -16 * scale)


def _q5_1(blocks: Tensor) -> Groups:
    integers = _nibbles(_bytes(blocks, 8)).flatten(1) | _fifth_bits(blocks[:, 4:8])
    return Groups(integers, _float16(blocks, 0), _float16(blocks, 2))


def _q8_0(blocks: Tensor) -> Groups:
    scale = _float16(blocks, 0)
    return Groups(blocks[:, 2:] ^ 128, scale, -128 * scale)


def _six_bit_scales(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """The scales and offsets (N, 8) of Q4_K and Q5_K: 6 bits each in 12 bytes, times two numbers of the block."""
    low, middle, mixed = blocks[:, 4:16].reshape(-1, 3, 4).unbind(1)  # (N, 4)
    scale = torch.cat((low & 63, (mixed & 15) | ((low >> 2) & 48)), dim=1)
    offset = torch.cat((middle & 63, (mixed >> 4) | ((middle >> 2) & 48)), dim=1)
    return scale * _float16(blocks, 0), offset * -_float16(blocks, 2)


def _q4_k(blocks: Tensor) -> Groups:
    integers = _nibbles(_bytes(blocks, 16).view(-1, 32))  # a byte holds weights of two groups
    return Groups(integers, *_six_bit_scales(blocks))


def _q5_k(blocks: Tensor) -> Groups:
    low = _nibbles(_bytes(blocks, 48).view(-1, 32)).view(-1, 8, 32)
    high = (blocks[:, None, 16:48] >> BITS.to(blocks.device)[:, None]) & 1  # (N, 8, 32)
    return Groups(low | high << 4, *_six_bit_scales(blocks))


def _q6_k(blocks: Tensor) -> Groups:
    low = _nibbles(_bytes(blocks, 0, 128).view(-1, 64)).view(-1, 8, 32)
    shifts = 2 * BITS.to(blocks.device)[:4, None]
    high = ((blocks[:, 128:192].reshape(-1, 1, 32) >> shifts) & 3).view(-1, 8, 32)
    scale = _bytes(blocks, 192, 208).view(torch.int8) * _float16(blocks, 208)
    return Groups(low | high << 4, scale, -32 * scale)


FORMATS = {
    each.name: each
    for each in (
        BlockFormat("q4_0", 4, 32, 32, 18, (0,), _q4_0),
        BlockFormat("q4_1", 4, 32, 32, 20, (0, 2), _q4_1),
        BlockFormat("q5_0", 5, 32, 32, 22, (0,), _q5_0),
        BlockFormat("q5_1", 5, 32, 32, 24, (0, 2), _q5_1),
        BlockFormat("q8_0", 8, 32, 32, 34, (0,), _q8_0),
        BlockFormat("q4_k", 4, 32, 256, 144, (0, 2), _q4_k),
        BlockFormat("q5_k", 5, 32, 256, 176, (0, 2), _q5_k),
        BlockFormat("q6_k", 6, 16, 256, 210, (208,), _q6_k),
    )
}
"""The formats by name."""
