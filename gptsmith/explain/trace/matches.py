"""The passages of a text that stand in what a model learnt from: the longest first, none inside or across another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gptsmith.data.suffix_array import SuffixArray


@dataclass(frozen=True)
class Match:
    """Some tokens of a text that stand in at least one of several texts.

    Attributes:
        start, stop: which tokens of the text.
        rows: of each suffix array, the first row of its places and the one after the last.
    """

    start: int
    stop: int
    rows: tuple[tuple[int, int], ...]

    @property
    def num_tokens(self) -> int:
        return self.stop - self.start

    @property
    def num_copies(self) -> int:
        """How often it stands in all of them."""
        return sum(stop - first for first, stop in self.rows)


def find_matches(arrays: Sequence[SuffixArray], query: np.ndarray, min_tokens: int) -> list[Match]:
    """The passages of a query (T,) with at least `min_tokens` tokens, in the order of the query.

    The longest one is taken, the first of several; then the longest in what is left on either side, and so on.
    """
    if not len(query):
        return []
    longest = np.max([array.longest(query) for array in arrays], axis=0)
    spans = sorted(_taken(longest, max(min_tokens, 1)))
    starts = np.array([start for start, _ in spans], np.int64)
    lengths = np.array([stop - start for start, stop in spans], np.int64)
    found = [np.stack(array.rows(query, starts, lengths), 1).tolist() for array in arrays]
    return [
        Match(start, stop, tuple(tuple(rows) for rows in of_arrays))
        for (start, stop), *of_arrays in zip(spans, *found, strict=True)
    ]


def _taken(longest: np.ndarray, min_tokens: int) -> Iterator[tuple[int, int]]:
    """The spans that are taken, given the longest match from each token on (T,)."""
    gaps = [(0, len(longest))]
    while gaps:
        start, stop = gaps.pop()
        if stop - start < min_tokens:
            continue
        lengths = np.minimum(longest[start:stop], stop - np.arange(start, stop))
        first = start + int(lengths.argmax())
        length = int(lengths[first - start])
        if length >= min_tokens:
            yield first, first + length
            gaps += [(start, first), (first + length, stop)]
