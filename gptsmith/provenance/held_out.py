"""How long the matches of text are that a model never saw: what is to be expected by chance."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json, write_json
from gptsmith.data.suffix_array import SuffixArray

NUM_BLOCKS, BLOCK_TOKENS = 10, 2_000
"""Parts of the held-out text, spread evenly over it, from whose tokens matches are looked for."""
LONGEST = 1_000
"""Lengths that are told apart."""


class HeldOutMatches:
    """How long the longest match is that begins at each of some places of held-out text.

    Attributes:
        counts: (1 + LONGEST,), the number of places whose longest match has so many tokens.
    """

    def __init__(self, counts: np.ndarray) -> None:
        self.counts = counts

    @property
    def num_places(self) -> int:
        return int(self.counts.sum())

    def share(self, num_tokens: int) -> float:
        """The share of places at which a match of at least so many tokens begins."""
        return int(self.counts[min(num_tokens, LONGEST) :].sum()) / self.num_places

    def rarer_than(self, share: float) -> int:
        """The fewest tokens of a match that begins at no more than that share of places."""
        at_least = np.cumsum(self.counts[::-1])[::-1]
        rare = np.flatnonzero(at_least <= share * self.num_places)
        return int(rare[0]) if len(rare) else LONGEST


def held_out_matches(array: SuffixArray, held_out: np.ndarray, file: Path | None = None) -> HeldOutMatches | None:
    """The matches of held-out text (T,), which has the separator between its documents; None if there is none.

    Args:
        file: where the counts are kept, or have been.
    """
    if file is not None and (kept := _kept(file)) is not None:
        return kept
    counts = np.zeros(1 + LONGEST, np.int64)
    for block in _blocks(held_out):
        longest = array.longest(block)[block != array.separator]
        counts += np.bincount(np.minimum(longest, LONGEST), minlength=1 + LONGEST)
    if not counts.sum():
        return None
    if file is not None:
        with contextlib.suppress(UserError):  # a full disk: it is counted again
            write_json(file, {"counts": counts.tolist()})
    return HeldOutMatches(counts)


def _kept(file: Path) -> HeldOutMatches | None:
    try:
        counts = np.array(read_json(file)["counts"], np.int64)
    except (UserError, ValueError, TypeError, KeyError):
        return None
    return HeldOutMatches(counts) if counts.shape == (1 + LONGEST,) and counts.sum() > 0 else None


def _blocks(held_out: np.ndarray) -> list[np.ndarray]:
    if len(held_out) <= NUM_BLOCKS * BLOCK_TOKENS:
        return [held_out]
    starts = np.linspace(0, len(held_out) - BLOCK_TOKENS, NUM_BLOCKS).astype(np.int64)
    return [held_out[start : start + BLOCK_TOKENS] for start in starts]
