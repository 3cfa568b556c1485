"""Prefix caching: what sequences that have ended leave in the KV cache, for prompts that begin alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gptsmith.generate.kv_cache import BlockTable, PagedKVCache

MOST_PREFIXES = 256
"""So many are searched for each sequence that starts."""


@dataclass(eq=False, slots=True)
class Prefix:
    """Tokens, and the blocks that hold their keys and values."""

    ids: Sequence[int]
    table: BlockTable


class PrefixCache:
    """The prefixes that no sequence uses now, the longest unused one first."""

    def __init__(self, cache: PagedKVCache, most: int = MOST_PREFIXES) -> None:
        self._cache, self._most = cache, most
        self._prefixes: list[Prefix] = []

    def add(self, ids: Sequence[int], table: BlockTable) -> None:
        """Keeps the blocks of a sequence that has ended. One that is the beginning of it is kept no more, as long as
        all layers keep all tokens."""
        self._cache.cut(table, len(ids))
        if not ids:
            return
        if all(group.window is None for group in self._cache.memory.groups):
            for prefix in [each for each in self._prefixes if common_length(each.ids, ids) == len(each.ids)]:
                self._remove(prefix)
        self._prefixes.append(Prefix(ids, table))
        self.shrink(self._most)

    def find(self, ids: Sequence[int], running: Sequence[Prefix]) -> tuple[BlockTable, int, Prefix | None]:
        """A table for a sequence that shares the longest beginning of its tokens that the cache holds; the length of
        that; and whose it is.

        Args:
            running: what the sequences that run have computed.
        """
        lengths = [(common_length(prefix.ids, ids), prefix) for prefix in (*running, *self._prefixes)]
        for length, prefix in sorted(lengths, key=lambda found: -found[0]):
            if length and (table := self._cache.share(prefix.table, length)) is not None:
                return table, length, prefix
        return self._cache.new_table(), 0, None

    def use(self, prefix: Prefix, length: int) -> None:
        """Notes that a sequence shares so much of one of these prefixes: if little else is left of it, it is kept no
        more, and its last block need not be copied."""
        if prefix in self._prefixes:
            if len(prefix.ids) - length < self._cache.block_size:
                self._remove(prefix)
            else:
                self._prefixes.remove(prefix)
                self._prefixes.append(prefix)

    def evict(self) -> bool:
        """Frees the blocks of the longest unused prefix; returns whether there was one."""
        if self._prefixes:
            self._remove(self._prefixes[0])
            return True
        return False

    def shrink(self, most: int) -> None:
        """Keeps at most so many."""
        while len(self._prefixes) > most:
            self.evict()

    def clear(self) -> None:
        """Forgets all, and writes zeros."""
        for prefix in self._prefixes:
            self._cache.release(prefix.table, clear=True)
        self._prefixes.clear()

    def _remove(self, prefix: Prefix) -> None:
        self._cache.release(prefix.table)
        self._prefixes.remove(prefix)


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """The length of the longest common prefix."""
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        return shorter
    return next(place for place in range(shorter) if one[place] != other[place])
