"""MXFP4 in safetensors files, as gpt-oss is published: blocks of 32 numbers of 4 bits that share a power of two (Open
Compute Project 2023, Microscaling formats, section 5.4)."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCKS, SCALES = "_blocks", "_scales"
"""What follows the name of a tensor in those of its two parts."""
BLOCK, BLOCK_BYTES = 32, 16
MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
NUMBERS = torch.tensor([*MAGNITUDES, *(-number for number in MAGNITUDES)])
PAIRS = torch.stack([NUMBERS.repeat(16), NUMBERS.repeat_interleave(16)], dim=1)
"""(256, 2): the two numbers of each byte, the one of its low bits first."""
BIAS = 127


def packed_shape(blocks: tuple[int, ...], scales: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape (E, in, out) of the matrices in blocks (E, out, in / 32, 16) with scales (E, out, in / 32); None if
    they do not fit together."""
    if len(blocks) != 4 or blocks[-1] != BLOCK_BYTES or scales != blocks[:-1]:
        return None
    num_matrices, num_rows, num_blocks, _ = blocks
    return num_matrices, BLOCK * num_blocks, num_rows


def unpacked(blocks: Tensor, scales: Tensor) -> Tensor:
    """The matrix (in, out), bfloat16, which holds all its numbers, of blocks (out, in / 32, 16) and scales (out,
    in / 32). A scale that stands for no number makes numbers that are not finite."""
    numbers = PAIRS[blocks.int()].flatten(-2)  # (out, in / 32, 32)
    powers = torch.exp2(scales.float() - BIAS)
    return (numbers * powers[..., None]).to(torch.bfloat16).flatten(-2).mT
