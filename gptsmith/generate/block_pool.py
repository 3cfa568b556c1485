"""The blocks of a paged KV cache: how many sequences use each, and their memory."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import torch
from torch import Tensor

from gptsmith.model.blocks import BlockPlan, Blocks
from gptsmith.model.kv_cache import discard, lazy_zeros

INT8_MAX = 127


class BlockTensor:
    """The keys or the values of one layer in blocks, and behind them the scales of those that are kept as integers.

    Attributes:
        blocks: (num_blocks, K, B, D).
        scales: (num_blocks, K, B), by which integers are multiplied; None for floating point.
    """

    def __init__(self, heads: int, block_size: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self.blocks = torch.zeros(0, heads, block_size, width, dtype=dtype, device=device)
        self.scales = None if dtype.is_floating_point else torch.zeros(0, heads, block_size, device=device)

    def grow(self, num_blocks: int) -> None:
        """Makes room for so many blocks; those that it has stay.

        Raises:
            UserError: there is too little memory.
        """
        self.blocks = _grown(self.blocks, num_blocks)
        if self.scales is not None:
            self.scales = _grown(self.scales, num_blocks)

    def write(self, blocks: Tensor | int, offsets: Tensor | int, new: Tensor) -> None:
        """Stores keys or values (K, N, D) of N tokens, each at an offset in a block; a single one is stored faster at
        plain numbers."""
        rows = new.transpose(0, 1)  # (N, K, D)
        if self.scales is not None:
            rows, self.scales[blocks, :, offsets] = quantized(rows)
        self.blocks[blocks, :, offsets] = rows.to(self.blocks.dtype)

    def copy(self, source: int, target: int) -> None:
        for tensor in self.tensors:
            tensor[target] = tensor[source]

    def clear(self, block: int) -> None:
        """Writes zeros, and gives the memory back to the system as far as that is possible."""
        for tensor in self.tensors:
            discard(tensor[block])

    def planned(self, plan: BlockPlan) -> Blocks:
        """Those that a plan reads."""
        return Blocks(self.blocks, self.scales, plan)

    @property
    def tensors(self) -> Sequence[Tensor]:
        return [self.blocks] if self.scales is None else [self.blocks, self.scales]


def _grown(tensor: Tensor, num_blocks: int) -> Tensor:
    grown = lazy_zeros((num_blocks, *tensor.shape[1:]), tensor.dtype, tensor.device)
    grown[: len(tensor)] = tensor
    return grown


def quantized(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (..., D) as integers from -127 to 127, and the scale of each row (...), in float32: an integer times its
    scale differs from the number by at most half a scale."""
    scales = (rows.abs().amax(dim=-1).float() / INT8_MAX).clamp(min=torch.finfo(torch.float32).tiny)
    return (rows / scales[..., None]).round().clamp(-INT8_MAX, INT8_MAX).to(torch.int8), scales


class BlockPool:
    """Numbers of blocks, each with the sequences that use it. The lowest free number is given out first: what is in use
    stays close together.

    Attributes:
        num_blocks: the most blocks.
        num_used: those in use.
        num_shared: those in use by several sequences.
        num_touched: those that take up memory: in use, or free and not given back.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.num_used = self.num_shared = 0
        self._users: dict[int, int] = {}
        self._free: list[int] = []
        """Heaps: the free blocks that take up memory, and those that were given back."""
        self._given_back: list[int] = []
        self._num_seen = 0

    @property
    def num_touched(self) -> int:
        return self._num_seen - len(self._given_back)

    @property
    def num_free(self) -> int:
        return self.num_blocks - self.num_used

    def take(self) -> int:
        """A free block, in use now."""
        for free in (self._free, self._given_back):
            if free:
                block = heapq.heappop(free)
                break
        else:
            block, self._num_seen = self._num_seen, self._num_seen + 1
        assert block < self.num_blocks, "whoever takes a block sees to it that one is free"
        self._users[block] = 1
        self.num_used += 1
        return block

    def share(self, block: int) -> None:
        """Counts one more sequence that uses a block."""
        self._users[block] += 1
        self.num_shared += self._users[block] == 2

    def is_shared(self, block: int) -> bool:
        return self._users[block] > 1

    def drop(self, block: int) -> bool:
        """Counts one sequence less; returns whether the block is free now."""
        self._users[block] -= 1
        self.num_shared -= self._users[block] == 1
        if self._users[block]:
            return False
        del self._users[block]
        heapq.heappush(self._free, block)
        self.num_used -= 1
        return True

    def give_back(self) -> int | None:
        """The last free block that takes up memory: whoever calls gives it back to the system. None if there is
        none."""
        if not self._free:
            return None
        block = max(self._free)
        self._free.remove(block)
        heapq.heapify(self._free)
        heapq.heappush(self._given_back, block)
        return block
