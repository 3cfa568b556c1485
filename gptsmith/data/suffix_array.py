"""A suffix array over tokens: where any sequence of them stands, by binary search. No torch.

The suffix array of N tokens (Manber and Myers 1993) lists all N places in the order of the text that begins there, so
that all places of a sequence stand together. All sequences of a query are searched for at once. Documents are divided
by a token that no query has, so that nothing that is found crosses from one to the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from pathlib import Path
from typing import Any

import numpy as np

from gptsmith.base.console import meter as console_meter
from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.base.files import read_json, readable_bytes, require_room, write_json
from gptsmith.base.machine import free_memory_bytes
from gptsmith.data.cache import MANIFEST, Hold, built_once
from gptsmith.data.corpus import MeterFactory

FORMAT_VERSION = 1
FOLDER = "suffix_arrays"
"""In the cache."""
TOKENS_FILE, PLACES_FILE = "tokens.bin", "places.bin"
TOKENS_COMPARED = 16
"""At once: most comparisons are decided within so many tokens."""
SEARCHED_AT_ONCE = 1 << 15
"""Sequences: more would take much memory and be no faster."""
NUM_PROBED = 1_000
"""Neighbours whose order is checked when an array is opened."""
BYTES_BY_BYTE = 12
"""The memory that sorting takes for each byte of tokens: a 32-bit place of every byte, some of them three times."""
TOKENS_PROBED = 1_000
"""Of two neighbours: texts may be alike for very long."""
SORTED_PER_S = 1_000_000
"""About how many tokens are sorted per second, for the bar alone."""


class SuffixArray:
    """Tokens, and all places of them in order.

    Attributes:
        tokens: (N,), the documents one after the other, unsigned.
        places: (N,), the places in `tokens` in the order of the text that begins there.
        separator: the token that ends every document; in a query it matches nothing.
    """

    def __init__(self, tokens: np.ndarray, places: np.ndarray, separator: int) -> None:
        self.tokens, self.places, self.separator = tokens, places, separator

    def __len__(self) -> int:
        return len(self.tokens)

    def longest(self, query: np.ndarray) -> np.ndarray:
        """(T,): the length of the longest sequence that begins at each token of a query (T,) and stands in a
        document."""
        query = self._prepared(query)
        starts = np.arange(len(query))
        _, below, above = self._search(query, starts, np.full(len(query), len(query)) - starts, after=False)
        return np.maximum(below, above)

    def rows(self, query: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first row of `places` where each of some sequences (R,) of a query stands, and the one after the last:
        their difference is the number of its copies."""
        query = self._prepared(query)
        first, *_ = self._search(query, starts, lengths, after=False)
        stop, *_ = self._search(query, starts, lengths, after=True)
        return first, stop

    def _prepared(self, query: np.ndarray) -> np.ndarray:
        """A query as int64, with -2, which equals no token, for the separator."""
        query = np.asarray(query, np.int64)
        return np.where(query == self.separator, -2, query)

    def _search(
        self, query: np.ndarray, starts: np.ndarray, lengths: np.ndarray, *, after: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each of R sequences, the number of suffixes that are smaller (R,); `after` counts those that begin with
        it as smaller, too. And how many tokens it shares with the suffix before that row and with the one there (R,).

        Both neighbours' shared lengths are kept while the interval shrinks: all suffixes inside share the shorter one,
        so that no token is compared again (Manber and Myers's search).
        """
        if len(starts) > SEARCHED_AT_ONCE:
            blocks = [slice(start, start + SEARCHED_AT_ONCE) for start in range(0, len(starts), SEARCHED_AT_ONCE)]
            found = [self._search(query, starts[block], lengths[block], after=after) for block in blocks]
            high, below, above = (np.concatenate(parts) for parts in zip(*found, strict=True))
            return high, below, above
        low, high = np.full(len(starts), -1), np.full(len(starts), len(self))
        below, above = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
        while len(open_rows := np.flatnonzero(high - low > 1)):
            middle = (low[open_rows] + high[open_rows]) // 2
            shared, is_smaller = self.compare(
                query, starts[open_rows], lengths[open_rows], self.places[middle].astype(np.int64),
                np.minimum(below[open_rows], above[open_rows]), after=after,
            )  # fmt: skip
            up, down = open_rows[is_smaller], open_rows[~is_smaller]
            low[up], below[up] = middle[is_smaller], shared[is_smaller]
            high[down], above[down] = middle[~is_smaller], shared[~is_smaller]
        return high, below, above

    def compare(
        self,
        query: np.ndarray,
        starts: np.ndarray,
        lengths: np.ndarray,
        places: np.ndarray,
        shared: np.ndarray,
        *,
        after: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """How many tokens each sequence (R,) of a query shares with the suffix at its place (R,), and whether that
        suffix is smaller (R,), or with `after` begins with it. The first `shared` of them are known to be equal."""
        shared, is_smaller = shared.copy(), np.zeros(len(starts), bool)
        rows, offsets = np.arange(len(starts)), np.arange(TOKENS_COMPARED)
        while len(rows):
            along = shared[rows, None] + offsets  # (R, K)
            wanted = _taken(query, starts[rows, None] + along, along < lengths[rows, None])
            there = _taken(self.tokens, places[rows, None] + along, True)
            differs = wanted != there
            at = np.where(differs.any(1), differs.argmax(1), TOKENS_COMPARED)
            shared[rows] = np.minimum(shared[rows] + at, lengths[rows])
            is_ended = shared[rows] >= lengths[rows]
            is_decided = is_ended | (at < TOKENS_COMPARED)
            last = np.minimum(at, TOKENS_COMPARED - 1)[:, None]
            smaller = np.take_along_axis(there, last, 1) < np.take_along_axis(wanted, last, 1)
            is_smaller[rows] = np.where(is_ended, after, smaller[:, 0])
            rows = rows[~is_decided]
        return shared, is_smaller


def _taken(values: np.ndarray, at: np.ndarray, is_inside: np.ndarray | bool) -> np.ndarray:
    """The values at some places, as int64; -1, smaller than any, behind the end."""
    is_inside = is_inside & (at < len(values))
    return np.where(is_inside, values[np.minimum(at, len(values) - 1)].astype(np.int64), -1)


def suffix_array(tokens: np.ndarray, separator: int, meter: MeterFactory = console_meter) -> SuffixArray:
    """The suffix array of tokens (N,) of unsigned integers, in memory.

    Raises:
        MissingExtraError: the library that sorts is not installed.
        UserError: there is too little memory.
    """
    try:
        from pydivsufsort import divsufsort
    except ImportError:
        raise MissingExtraError("an index of text", "gptsmith[explain]") from None
    needed, free = BYTES_BY_BYTE * tokens.nbytes, free_memory_bytes()
    if free is not None and free < needed:
        raise UserError(
            f"an index of {len(tokens):,} tokens takes {readable_bytes(needed)} of memory while it is made, and "
            f"{readable_bytes(free)} are free: free some, or trace on a larger machine"
        )
    if not len(tokens):
        return SuffixArray(tokens, np.empty(0, np.uint32), separator)
    started, expected_s = time.monotonic(), len(tokens) / SORTED_PER_S
    with ThreadPoolExecutor(1) as thread, meter(f"indexing {len(tokens):,} tokens", expected_s, count=False) as bar:
        sorting = thread.submit(divsufsort, tokens)  # it does not say how far it is
        while True:
            try:
                places = sorting.result(timeout=0.1)
                break
            except StillRunning:
                bar.update(min(time.monotonic() - started, 0.95 * expected_s))
    return SuffixArray(tokens, places.astype(place_dtype(len(tokens)), copy=False), separator)


def place_dtype(num_tokens: int) -> str:
    """Four bytes for each place if that is enough, else eight."""
    return "<u4" if num_tokens < 1 << 32 else "<u8"


def kept_suffix_array(
    target: Path,
    read: Callable[[Path], np.ndarray],
    separator: int,
    made_from: str,
    meter: MeterFactory = console_meter,
) -> SuffixArray:
    """The suffix array in the folder `target`, memory-mapped; made there unless it is there whole, in order, and in the
    format of this version.

    Args:
        read: gives the tokens, and may put files of its own into the folder that it is called with.
        made_from: the text that the tokens are of, for the list of what is cached.

    Raises:
        MissingExtraError: the library that sorts is not installed.
        UserError: there is too little memory, or no room on the disk.
    """
    with built_once(target, is_whole) as working:
        if working is not None:
            tokens = read(working)
            place_bytes = np.dtype(place_dtype(len(tokens))).itemsize
            require_room(working, tokens.nbytes + place_bytes * len(tokens), "the index of the text")
            made = suffix_array(tokens, separator, meter)
            made.tokens.tofile(working / TOKENS_FILE)
            made.places.tofile(working / PLACES_FILE)
            write_json(
                working / MANIFEST,
                {
                    "format_version": FORMAT_VERSION,
                    "num_tokens": len(tokens),
                    "separator": separator,
                    "dtypes": {TOKENS_FILE: made.tokens.dtype.str, PLACES_FILE: made.places.dtype.str},
                    "made_from": made_from,
                },
            )
    return opened(target)


class _KeptSuffixArray(SuffixArray):
    """A suffix array in the cache, which is not deleted while this object lives."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        tokens, places = (_mapped(folder / name, dtype) for name, dtype in manifest["dtypes"].items())
        super().__init__(tokens, places, manifest["separator"])
        self.hold = Hold(folder)


def opened(folder: Path) -> SuffixArray:
    """The suffix array in a folder, memory-mapped."""
    return _KeptSuffixArray(folder, read_json(folder / MANIFEST))


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a suffix array of this version whose files have their sizes, and whose places are in order
    wherever they are probed."""
    try:
        manifest = read_json(folder / MANIFEST)
        if manifest["format_version"] != FORMAT_VERSION:
            return False
        found = opened(folder)
        return len(found.tokens) == len(found.places) == manifest["num_tokens"] and _is_ordered(found)
    except (UserError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return False


def _is_ordered(array: SuffixArray) -> bool:
    """Whether some neighbours, spread evenly, are places of the text and in order."""
    if len(array) < 2:
        return True
    rows = np.unique(np.linspace(0, len(array) - 2, NUM_PROBED).astype(np.int64))
    places, following = (array.places[at].astype(np.int64) for at in (rows, rows + 1))
    if max(places.max(), following.max()) >= len(array):
        return False
    lengths, nothing = np.minimum(len(array) - following, TOKENS_PROBED), np.zeros(len(rows), np.int64)
    _, is_smaller = array.compare(array.tokens, following, lengths, places, nothing, after=True)
    return bool(is_smaller.all())


def _mapped(path: Path, dtype: str) -> np.ndarray:
    """The values in a file, memory-mapped; a file without any cannot be."""
    return np.asarray(np.memmap(path, dtype, mode="r")) if path.stat().st_size else np.empty(0, dtype)
