"""Keys and values that lie in blocks of a pool, and attention over them where they lie.

A block holds the keys (or values) of a few tokens of one sequence, and may be shared by several. Products are computed
block by block, all blocks of all sequences at once, and only their results, which are small, are put in the order of
the sequences: neither keys nor values are copied.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

CONVERTED_BYTES = 1 << 19
"""Quantised blocks are read back to floating point so many bytes at a time: they stay in the processor's cache."""


@dataclass(frozen=True)
class Part:
    """Blocks that equally many sequences read.

    Attributes:
        runs: the ranges of the pool that they fill: begin and end there, begin and end among the blocks of this part.
        rows: the sequences that read each block, one block after the other, (M * R).
        num_blocks, num_readers: M and R.
    """

    runs: Sequence[tuple[int, int, int, int]]
    rows: Tensor
    num_blocks: int
    num_readers: int


@dataclass(frozen=True)
class BlockPlan:
    """Where the keys of some sequences lie, which attend together. Each reading of a block by a sequence is a pair.

    Attributes:
        tables: the blocks of each sequence, in order.
        block_size: the tokens of a block, B.
        num_keys: the keys of the longest sequence, S.
        parts: the same blocks in the order of the pool; their pairs in order are all pairs.
        pair_of_cell: for each sequence and each of its places for a block, the pair, (N * nb); any pair behind a
            sequence's last block. None if cells and pairs are the same.
        cell_of_pair: the inverse, (P).
    """

    tables: Sequence[Sequence[int]]
    block_size: int
    num_keys: int
    parts: Sequence[Part]
    pair_of_cell: Tensor | None
    cell_of_pair: Tensor | None

    @classmethod
    def of(cls, tables: Sequence[Sequence[int]], block_size: int, num_keys: int, device: torch.device) -> BlockPlan:
        """The plan for sequences of these blocks."""
        most = max(map(len, tables))
        cells: dict[int, list[int]] = defaultdict(list)
        for row, table in enumerate(tables):
            for place, block in enumerate(table):
                cells[block].append(row * most + place)
        by_readers: dict[int, list[int]] = defaultdict(list)
        for block in sorted(cells):
            by_readers[len(cells[block])].append(block)
        parts, order = [], []
        for num_readers, blocks in by_readers.items():
            own = [cell for block in blocks for cell in cells[block]]
            rows = torch.tensor([cell // most for cell in own], device=device)
            parts.append(Part(list(_runs(blocks)), rows, len(blocks), num_readers))
            order += own
        if order == list(range(len(tables) * most)):
            return cls(tables, block_size, num_keys, parts, None, None)
        cell_of_pair = torch.tensor(order, device=device)
        pair_of_cell = torch.zeros(len(tables) * most, dtype=torch.long, device=device)
        pair_of_cell[cell_of_pair] = torch.arange(len(order), device=device)
        return cls(tables, block_size, num_keys, parts, pair_of_cell, cell_of_pair)


def _runs(blocks: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
    """Ranges of numbers that follow each other: first and last one, places of these among all; each last one is not
    included."""
    ends = [place for place, (one, other) in enumerate(pairwise(blocks), 1) if other != one + 1]
    for first, last in pairwise([0, *ends, len(blocks)]):
        yield blocks[first], blocks[first] + last - first, first, last


@dataclass(slots=True)
class Blocks:
    """The keys or the values of a span, in the pool of a layer.

    Attributes:
        pool: all blocks, (blocks, K, B, D).
        scales: what integers of each token and head are multiplied by, (blocks, K, B); None for floating point.
        plan: which blocks the sequences of the span read.
    """

    pool: Tensor
    scales: Tensor | None
    plan: BlockPlan

    def scores(self, queries: Tensor) -> Tensor:
        """The products (N, H, T, S) of queries (N, H, T, D) and these keys. Behind a sequence's last key stands
        anything."""
        plan, (N, H, T, D) = self.plan, queries.shape
        K, B = self.pool.shape[1:3]
        found = []
        for part in plan.parts:
            M, R = part.num_blocks, part.num_readers
            if N == 1:
                rows = queries.reshape(1, K, -1, D).expand(M, -1, -1, -1).reshape(M * K, -1, D)
            else:
                rows = _by_head(queries.reshape(N, -1).index_select(0, part.rows), M, R, K, D)  # (M K, R H/K T, D)
            products = []
            for begin, end, first, last in self._pieces(part):
                products.append(torch.bmm(rows[first * K : last * K], self._floats(begin, end, queries.dtype).mT))
                if self.scales is not None:
                    products[-1] *= self._scales_of(begin, end)
            found.append(_by_reader(_joined(products), M, R, K))  # (M R, H T B)
        pairs = _joined(found)
        cells = pairs if plan.pair_of_cell is None else pairs.index_select(0, plan.pair_of_cell)
        scores = cells.view(N, -1, H, T, B).permute(0, 2, 3, 1, 4).reshape(N, H, T, -1)
        return scores[..., : plan.num_keys]

    def weighted_sum(self, pattern: Tensor) -> Tensor:
        """The sums (N, H, T, D) of these values, weighted by a pattern (N, H, T, S) that is 0 behind a sequence's last
        one."""
        plan, (N, H, T, S) = self.plan, pattern.shape
        K, B, D = self.pool.shape[1:]
        pattern = torch.constant_pad_nd(pattern, (0, -S % B)) if S % B else pattern
        cells = pattern.view(N, H, T, -1, B).permute(0, 3, 1, 2, 4).reshape(-1, H * T * B)
        pairs = cells if plan.cell_of_pair is None else cells.index_select(0, plan.cell_of_pair)
        mixed: Tensor | None = None
        at = 0
        for part in plan.parts:
            M, R = part.num_blocks, part.num_readers
            rows = _by_head(pairs[at : at + M * R], M, R, K, B)  # (M K, R H/K T, B)
            at += M * R
            sums = []
            for begin, end, first, last in self._pieces(part):
                weights = rows[first * K : last * K]
                if self.scales is not None:
                    weights = (weights * self._scales_of(begin, end)).to(pattern.dtype)
                sums.append(torch.bmm(weights, self._floats(begin, end, pattern.dtype)))
            found = _by_reader(_joined(sums), M, R, K)  # (M R, H T D)
            if N == 1:
                mixed = found.sum(dim=0) if mixed is None else mixed + found.sum(dim=0)
            else:
                mixed = found.new_zeros(N, H * T * D) if mixed is None else mixed
                mixed.index_add_(0, part.rows, found)
        assert mixed is not None, "a span has keys"
        return mixed.view(N, H, T, D)

    def gather(self, dtype: torch.dtype) -> Tensor:
        """A copy of them in the order of the sequences, (N, K, S, D). Behind a sequence's last one are zeros."""
        plan = self.plan
        K, B, D = self.pool.shape[1:]
        most = max(map(len, plan.tables))
        found = torch.empty(len(plan.tables), K, most, B, D, dtype=dtype, device=self.pool.device)
        for row, table in zip(found, plan.tables, strict=True):
            for begin, end, first, last in _runs(table):
                row[:, first:last] = self.pool[begin:end].transpose(0, 1)
                if self.scales is not None:
                    row[:, first:last] *= self.scales[begin:end].transpose(0, 1)[..., None]
            row[:, len(table) :] = 0
        return found.view(len(plan.tables), K, most * B, D)[:, :, : plan.num_keys]

    def _floats(self, begin: int, end: int, dtype: torch.dtype) -> Tensor:
        """The blocks from one to before another, (M K, B, D), not yet scaled."""
        return self.pool[begin:end].flatten(0, 1).to(dtype)

    def _scales_of(self, begin: int, end: int) -> Tensor:
        """Their scales, (M K, 1, B)."""
        assert self.scales is not None, "only integers have scales"
        return self.scales[begin:end].view(-1, 1, self.scales.shape[2])

    def _pieces(self, part: Part) -> Iterator[tuple[int, int, int, int]]:
        """The runs of a part, cut into pieces that can be read back to floating point at once."""
        if self.scales is None:
            yield from part.runs
            return
        most = max(1, CONVERTED_BYTES // (torch.float32.itemsize * self.pool[0].numel()))
        for begin, end, first, _ in part.runs:
            for start in range(begin, end, most):
                stop = min(start + most, end)
                yield start, stop, first + start - begin, first + stop - begin


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def _by_head(rows: Tensor, num_blocks: int, num_readers: int, num_heads: int, width: int) -> Tensor:
    """Rows (M * R, H * T * X) for the R readers of each block, as (M * K, R * H/K * T, X): H heads share K."""
    if num_readers == 1:
        return rows.view(num_blocks * num_heads, -1, width)
    heads = rows.view(num_blocks, num_readers, num_heads, -1, width).transpose(1, 2)
    return heads.reshape(num_blocks * num_heads, -1, width)


def _by_reader(heads: Tensor, num_blocks: int, num_readers: int, num_heads: int) -> Tensor:
    """The inverse of `_by_head`."""
    if num_readers == 1:
        return heads.view(num_blocks, -1)
    rows = heads.view(num_blocks, num_heads, num_readers, -1).transpose(1, 2)
    return rows.reshape(num_blocks * num_readers, -1)
