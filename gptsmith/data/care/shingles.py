"""Shingles: the hashes of some words in a row, such as five, at every word of a document (Broder 1997), in numpy alone.

A word is a run of letters and digits, in any case; of scripts that are written without spaces, such as Chinese, each
character is one. What stands between words does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gptsmith.base.hashing import GOLDEN_RATIO, mixed

BLOCK_BYTES = 1 << 18
"""Of text at once, in which what is computed stays in the processor's cache; longer documents are cut."""
WORD_BYTES = 32
"""Of a longer word, only its first bytes and its length count."""
LOAD_BYTES = 8
LOWER_CASE = np.uint64(0x2020202020202020)
"""The bit in which letters of ASCII, Latin-1, Greek and Cyrillic in UTF-8 differ from their capitals."""
MASKS = np.array([(1 << 8 * count) - 1 for count in range(LOAD_BYTES + 1)], np.uint64)
CHARACTER_WORDS = 0xE0
"""The first lead byte of UTF-8 whose characters are words of their own: scripts without spaces are among them."""
PUNCTUATION = 0x80E2
"""The first two bytes of typographic punctuation, which is no word, as a number."""


def blocks(starts: np.ndarray, stops: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Documents (D,) in blocks of pieces that follow one upon the other: their first bytes, the bytes after their last,
    and the numbers of their documents."""
    long = np.flatnonzero(stops - starts > BLOCK_BYTES)
    cuts = [np.arange(starts[number] + BLOCK_BYTES, stops[number], BLOCK_BYTES) for number in long]
    begins = np.sort(np.concatenate([starts, *cuts]))
    documents = np.searchsorted(stops, begins, side="right")
    ends = np.minimum(np.append(begins[1:], stops[-1:]), stops[documents])
    gaps = np.append(np.flatnonzero(begins[1:] != ends[:-1]) + 1, len(begins))
    first = 0
    while first < len(begins):
        last = max(first + 1, int(np.searchsorted(ends, begins[first] + BLOCK_BYTES, side="right")))
        last = min(last, int(gaps[np.searchsorted(gaps, first, side="right")]))
        yield begins[first:last], ends[first:last], documents[first:last]
        first = last


def shingles(text: bytes, starts: np.ndarray, stops: np.ndarray, num_words: int) -> tuple[np.ndarray, np.ndarray]:
    """The shingles of some documents.

    Args:
        text: UTF-8.
        starts, stops: (D,), the bytes of each document in it; they follow one upon the other.
        num_words: in a shingle. A document of fewer is one shingle.

    Returns:
        As many 64-bit hashes as there are words (W,), which are the shingles, some of them more than once; and where
        those of each document begin (D + 1).
    """
    words, places = _words(text, starts, stops)
    offsets = np.append(np.searchsorted(places, starts), len(words))
    firsts, counts = offsets[:-1], np.diff(offsets)
    powers = np.uint64(GOLDEN_RATIO) ** np.arange(num_words, dtype=np.uint64)
    padded = np.concatenate([words, np.zeros(num_words - 1, np.uint64)])
    rolled, product = words.copy(), np.empty_like(words)
    for number in range(1, num_words):
        rolled += np.multiply(padded[number : number + len(words)], powers[number], out=product)
    short = np.flatnonzero((counts > 0) & (counts < num_words))
    rolled[firsts[short]] = counts[short].astype(np.uint64)
    for number in range(num_words - 1):
        some = short[counts[short] > number]
        rolled[firsts[some]] += words[firsts[some] + number] * powers[number]
    # What begins at the last words of a document would reach into the next one: the first shingle stands in its place.
    for number in range(1, num_words):
        some = np.flatnonzero(counts > number)
        rolled[offsets[some + 1] - number] = rolled[firsts[some]]
    return mixed(rolled), offsets


def common_shingles(texts: Sequence[bytes], num_words: int, least: float) -> np.ndarray:
    """The shingles that more than `least` of some texts, none of which is empty, have, in order."""
    stops = np.cumsum([len(text) for text in texts], dtype=np.int64)
    hashes, offsets = shingles(b"".join(texts), np.concatenate([[0], stops[:-1]]), stops, num_words)
    text_of = np.repeat(np.arange(len(texts)), np.diff(offsets))
    order = np.lexsort((text_of, hashes))
    hashes, text_of = hashes[order], text_of[order]
    is_new = np.append(True, (hashes[1:] != hashes[:-1]) | (text_of[1:] != text_of[:-1]))[: len(hashes)]
    values, counts = np.unique(hashes[is_new], return_counts=True)
    return values[counts > least]


def without(hashes: np.ndarray, offsets: np.ndarray, ignored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shingles (W,) of documents that begin at `offsets` (D + 1), without some that are in order."""
    if not len(ignored):
        return hashes, offsets
    stays = ~is_among(hashes, ignored)
    return hashes[stays], np.concatenate([[0], np.cumsum(stays)])[offsets]


def is_among(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which values (N,) are among others (M,), which are in order, as a mask (N,)."""
    if not len(others):
        return np.zeros(len(values), bool)
    found: np.ndarray = others[np.minimum(np.searchsorted(others, values), len(others) - 1)] == values
    return found


def _words(text: bytes, starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hash of each word (W,), and its first byte (W,)."""
    padded = np.frombuffer(text + bytes(WORD_BYTES + LOAD_BYTES), np.uint8)
    data = padded[: len(text)]
    is_word = (data >= 0x80) | ((data | 0x20) - np.uint8(ord("a")) < 26) | (data - np.uint8(ord("0")) < 10)
    begins = is_word.copy()
    begins[1:] &= ~is_word[:-1]
    if len(data) and data.max() >= CHARACTER_WORDS:
        begins |= data >= CHARACTER_WORDS
        for size, lead in ((3, CHARACTER_WORDS), (4, 0xF0)):  # what follows a character that is a word
            begins[size:] |= is_word[size:] & (data[:-size] >= lead) & (data[size:] & 0xC0 != 0x80)
    begins[starts] = is_word[starts]
    ends = is_word.copy()
    ends[:-1] &= ~is_word[1:] | begins[1:]
    ends[stops - 1] = is_word[stops - 1]
    places = np.flatnonzero(begins)
    lengths = np.flatnonzero(ends) + 1 - places
    # Eight bytes from any place on, as one item without alignment.
    loads = np.ndarray(len(padded) - LOAD_BYTES + 1, "V8", padded, strides=(1,))
    head = loads[places].view("<u8")
    hashes = mixed(((head | LOWER_CASE) & MASKS[np.minimum(lengths, LOAD_BYTES)]) + lengths.astype(np.uint64))
    for offset in range(LOAD_BYTES, WORD_BYTES, LOAD_BYTES):
        long = np.flatnonzero(lengths > offset)
        more = loads[places[long] + offset].view("<u8") | LOWER_CASE
        more &= MASKS[np.minimum(lengths[long] - offset, LOAD_BYTES)]
        hashes[long] = mixed(hashes[long] ^ more)
    if len(data) and data.max() >= CHARACTER_WORDS:
        kept = (head & np.uint64(0xFFFF)) != PUNCTUATION
        return hashes[kept], places[kept]
    return hashes, places
