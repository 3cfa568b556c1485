"""A paged KV cache: the keys and values of many sequences in blocks of one pool (Kwon et al. 2023).

Each sequence has a table of its blocks. Sequences that begin alike share blocks; one that writes to a shared block gets
a copy of it first. Layers that see a window keep the blocks of that window alone, from a pool of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.generate.block_pool import BlockPool, BlockTensor
from gptsmith.generate.kv_memory import BlockGroup, KVCacheMemory
from gptsmith.model.blocks import BlockPlan
from gptsmith.model.config import GPTConfig
from gptsmith.model.layout import KeysAndValues, Layout, Span, causal_mask

SAME_LENGTH = 2
"""Sequences that are decoded attend together while their keys and padding are at most so many times their keys."""


@dataclass(eq=False, slots=True)
class BlockTable:
    """The blocks of one sequence.

    Attributes:
        blocks: for each group of layers, its blocks in order.
        first: for each group, which block of the sequence is the first that is kept.
        num_written: the tokens that were written.
    """

    blocks: list[list[int]]
    first: list[int]
    num_written: int = 0


@dataclass(slots=True)
class Segment:
    """Tokens that one pass reads of one sequence: those at the positions from `start` on."""

    table: BlockTable
    start: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass
class _GroupPass:
    """What the next pass reads and writes in a group of layers.

    Attributes:
        blocks: the block of each token; the number alone if there is one token.
        plans: for each span the blocks of its keys; None where the pass itself makes all of them.
    """

    blocks: Tensor | int
    spans: list[Span] = field(default_factory=list)
    plans: list[BlockPlan | None] = field(default_factory=list)


class PagedKVCache:
    """The keys and values of all sequences of an engine.

    `extend` makes room for the tokens of each sequence that the next pass reads, and `plan` says which ones those are:
    the tokens of the first segment, then those of the next, all in one row.

    Attributes:
        memory: its groups of layers, and its bound.
        pools: for each group, which blocks are in use.
    """

    def __init__(self, config: GPTConfig, memory: KVCacheMemory, *, device: torch.device, max_num_seqs: int) -> None:
        """Without a bound on its memory there is room for `max_num_seqs` whole contexts."""
        self.memory, self.device = memory, device
        self.block_size = memory.block_size
        self.pools = [BlockPool(most) for most in memory.most_blocks(max_num_seqs)]
        shape = config.attention.cache_shape(config.dims)
        self.keys, self.values = (
            [BlockTensor(heads, self.block_size, width, memory.dtype, device) for _ in range(config.num_layers)]
            for heads, width in (shape.keys, shape.values)
        )
        self._group_of = {layer: number for number, group in enumerate(memory.groups) for layer in group.layers}
        self._capacities = [0 for _ in memory.groups]
        self._passes: list[_GroupPass] = []
        self._layout: Layout | None = None
        if device.type == "cpu":
            # Memory is taken up only where it is written to. Where not even addresses can be had, the cache grows.
            with suppress(UserError):
                for number, pool in enumerate(self.pools):
                    self._grow(number, pool.num_blocks)

    def new_table(self) -> BlockTable:
        """The table of a sequence that has no blocks yet."""
        return BlockTable([[] for _ in self.pools], [0 for _ in self.pools])

    # Blocks

    def extend(self, table: BlockTable, start: int, end: int) -> bool:
        """Makes room for a sequence's tokens at the positions from `start` to before `end`, and frees the blocks behind
        its windows. From position 0 it begins anew.

        Returns:
            whether there is room; else nothing was taken.

        Raises:
            UserError: there is less memory than the bound says.
        """
        if start == 0 and table.num_written:
            self.release(table)
        wanted = []
        for number, group in enumerate(self.memory.groups):
            self._free_behind(table, number, group, start)
            missing = -(-end // self.block_size) - table.first[number] - len(table.blocks[number])
            wanted.append(max(0, missing) + len(list(self._shared_places(table, number, start))))
        if not self._has_room(wanted):
            return False
        for number, pool in enumerate(self.pools):
            blocks = table.blocks[number]
            for place in list(self._shared_places(table, number, start)):
                copy = self._take(number)
                for tensor in self._tensors(number):
                    tensor.copy(blocks[place], copy)
                pool.drop(blocks[place])
                blocks[place] = copy
            while table.first[number] + len(blocks) < -(-end // self.block_size):
                blocks.append(self._take(number))
        return True

    def share(self, source: BlockTable, num_tokens: int) -> BlockTable | None:
        """A table of a sequence that begins with the first tokens of another; None if not all are kept that it would
        see."""
        table = self.new_table()
        for number, (group, pool) in enumerate(zip(self.memory.groups, self.pools, strict=True)):
            first = source.first[number]
            if first and first > self._first_seen(group, num_tokens):
                self.release(table)
                return None
            blocks = source.blocks[number][: -(-num_tokens // self.block_size) - first]
            for block in blocks:
                pool.share(block)
            table.blocks[number], table.first[number] = list(blocks), first
        table.num_written = num_tokens
        return table

    def cut(self, table: BlockTable, num_tokens: int) -> None:
        """Frees the blocks behind a sequence's first tokens."""
        for number, pool in enumerate(self.pools):
            keep = max(0, -(-num_tokens // self.block_size) - table.first[number])
            for block in table.blocks[number][keep:]:
                pool.drop(block)
            del table.blocks[number][keep:]
        table.num_written = num_tokens

    def release(self, table: BlockTable, *, clear: bool = False) -> None:
        """Frees the blocks of a sequence.

        Args:
            clear: whether zeros are written. A NaN would reach whoever gets the block next: masked keys count 0 times,
                and 0 times NaN is NaN.
        """
        for number, pool in enumerate(self.pools):
            for block in table.blocks[number]:
                if pool.drop(block) and clear:
                    self._clear(number, block)
            table.blocks[number], table.first[number] = [], 0
        table.num_written = 0

    def missing_bytes(self, table: BlockTable, num_tokens: int) -> int:
        """The most bytes that a sequence still takes until it has so many tokens."""
        wanted = self.memory.num_blocks(num_tokens)
        return self.memory.block_bytes(
            [max(0, most - len(blocks)) for most, blocks in zip(wanted, table.blocks, strict=True)]
        )

    def bytes_of(self, tables: Iterable[BlockTable]) -> int:
        """The bytes of the blocks of some sequences; a shared block counts once."""
        used = [set[int]() for _ in self.pools]
        for table in tables:
            for found, blocks in zip(used, table.blocks, strict=True):
                found.update(blocks)
        return self.memory.block_bytes([*map(len, used)])

    def _first_seen(self, group: BlockGroup, position: int) -> int:
        """The first block that tokens from a position on see."""
        return 0 if group.window is None else max(0, position - group.window + 1) // self.block_size

    def _free_behind(self, table: BlockTable, number: int, group: BlockGroup, start: int) -> None:
        num_free = min(self._first_seen(group, start) - table.first[number], len(table.blocks[number]))
        if num_free > 0:
            for block in table.blocks[number][:num_free]:
                self.pools[number].drop(block)
            del table.blocks[number][:num_free]
            table.first[number] += num_free

    def _shared_places(self, table: BlockTable, number: int, start: int) -> Iterator[int]:
        """The places in a table from a position on whose blocks others use too."""
        blocks, pool = table.blocks[number], self.pools[number]
        for place in range(start // self.block_size - table.first[number], len(blocks)):
            if pool.is_shared(blocks[place]):
                yield place

    def _has_room(self, wanted: Sequence[int]) -> bool:
        """Whether so many blocks of each group are free."""
        if any(count > pool.num_free for count, pool in zip(wanted, self.pools, strict=True)):
            return False
        bound = self.memory.num_bytes
        used = [count + pool.num_used for count, pool in zip(wanted, self.pools, strict=True)]
        return bound is None or self.memory.block_bytes(used) <= bound

    def _take(self, number: int) -> int:
        """A free block of a group; blocks that others have left are given back for it where they exceed the bound."""
        pool, bound = self.pools[number], self.memory.num_bytes
        block = pool.take()
        try:
            if block >= self._capacities[number]:
                self._grow(number, min(max(block + 1, 2 * self._capacities[number]), pool.num_blocks))
        except UserError:
            pool.drop(block)
            raise
        while bound is not None and self.memory.block_bytes([each.num_touched for each in self.pools]) > bound:
            for other, each in enumerate(self.pools):
                if (left := each.give_back()) is not None:
                    self._clear(other, left)
                    break
        return block

    def _grow(self, number: int, num_blocks: int) -> None:
        for tensor in self._tensors(number):
            tensor.grow(num_blocks)
        self._capacities[number] = num_blocks

    def _clear(self, number: int, block: int) -> None:
        for tensor in self._tensors(number):
            tensor.clear(block)

    def _tensors(self, number: int) -> Iterator[BlockTensor]:
        for layer in self.memory.groups[number].layers:
            yield from (self.keys[layer], self.values[layer])

    # Passes

    def plan(self, segments: Sequence[Segment]) -> None:
        """Plans the next pass. Segments of one token that come first, the shorter sequences first, attend together."""
        ids = torch.tensor([place for s in segments for place in range(s.start, s.end)], device=self.device)
        self._offsets = _indices(
            [place % self.block_size for s in segments for place in range(s.start, s.end)], self.device
        )
        batches = list(_batches(segments))
        self._passes = [self._group_pass(number, segments, batches, ids) for number in range(len(self.pools))]
        windows = [group.window for group in self.memory.groups]
        spans = {window: planned.spans for window, planned in zip(windows, self._passes, strict=True)}
        windowed = {window: of_window for window, of_window in spans.items() if window is not None}
        longest = max(segment.end for segment in segments)
        self._layout = Layout(ids, spans.get(None, self._passes[0].spans), longest, windowed)
        for segment in segments:
            segment.table.num_written = segment.end

    def layout(self, num_tokens: int, attention_mask: Tensor | None) -> Layout:
        """The layout that was planned."""
        assert self._layout is not None, "a pass is planned before it is made"
        assert len(self._layout.ids) == num_tokens, "a pass reads what was planned"
        assert attention_mask is None, "blocks hold no padding"
        return self._layout

    def update(self, layer: int, keys: Tensor, values: Tensor) -> list[KeysAndValues]:
        """Stores a layer's new keys and values (1, K, N, D) in their blocks; returns those that each span attends
        to."""
        planned = self._passes[self._group_of[layer]]
        pair = self.keys[layer], self.values[layer]
        for tensor, new in zip(pair, (keys[0], values[0]), strict=True):
            tensor.write(planned.blocks, self._offsets, new)
        return [
            (keys[:, :, span.tokens], values[:, :, span.tokens])
            if plan is None
            else (pair[0].planned(plan), pair[1].planned(plan))
            for span, plan in zip(planned.spans, planned.plans, strict=True)
        ]

    def advance(self, num_tokens: int) -> None:
        """Nothing: whoever plans counts the tokens of each sequence."""

    def _group_pass(
        self, number: int, segments: Sequence[Segment], batches: Sequence[Sequence[Segment]], ids: Tensor
    ) -> _GroupPass:
        """The next pass in a group of layers."""
        blocks = [
            segment.table.blocks[number][place // self.block_size - segment.table.first[number]]
            for segment in segments
            for place in range(segment.start, segment.end)
        ]
        planned = _GroupPass(_indices(blocks, self.device))
        at = 0
        for batch in batches:
            tokens = slice(at, at := at + sum(segment.count for segment in batch))
            begins = [segment.table.first[number] * self.block_size for segment in batch]
            num_keys = max(segment.end - begin for segment, begin in zip(batch, begins, strict=True))
            planned.spans.append(self._span(batch, begins, num_keys, ids[tokens], tokens))
            if batch[0].start == 0 and self.memory.dtype.is_floating_point:
                planned.plans.append(None)
                continue
            tables = [
                segment.table.blocks[number][: -(-(segment.end - begin) // self.block_size)]
                for segment, begin in zip(batch, begins, strict=True)
            ]
            planned.plans.append(BlockPlan.of(tables, self.block_size, num_keys, self.device))
        return planned

    def _span(self, batch: Sequence[Segment], begins: Sequence[int], num_keys: int, ids: Tensor, tokens: slice) -> Span:
        """Segments that attend together, to so many keys from a position on that each begins at."""
        key_ids = torch.arange(num_keys, device=self.device)
        if len(batch) == 1:
            [segment], [begin] = batch, begins
            is_plain = segment.start == 0 or segment.count == 1
            mask = None if is_plain else causal_mask(segment.count, num_keys, self.device)[None, None]
            return Span(ids, key_ids + begin, mask, tokens=tokens)
        query_ids = ids[:, None]  # (N, 1)
        if any(begins):
            key_ids = key_ids + torch.tensor(begins, device=self.device)[:, None]  # (N, S)
        return Span(query_ids, key_ids, (key_ids <= query_ids)[:, None, None], tokens=tokens, is_batch=True)


def _indices(numbers: Sequence[int], device: torch.device) -> Tensor | int:
    return numbers[0] if len(numbers) == 1 else torch.tensor(numbers, device=device)


def _batches(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """The segments that come first and have one token, in batches of about one length; then each other by itself."""
    singles = list(takewhile(lambda segment: segment.count == 1 and segment.start > 0, segments))
    batch: list[Segment] = []
    num_keys = 0
    for segment in singles:
        if (len(batch) + 1) * segment.end > SAME_LENGTH * (num_keys + segment.end):
            yield batch
            batch, num_keys = [], 0
        batch.append(segment)
        num_keys += segment.end
    if batch:
        yield batch
    yield from ([segment] for segment in segments[len(singles) :])
