"""What stands in a document already, so that it can be copied from there."""

from __future__ import annotations

import numpy as np

from gptsmith.base.hashing import GOLDEN_RATIO

REPEATED_TOKENS = 8
"""A passage of so many tokens that stands in the prompt already can be copied from there."""
BLOCK_TOKENS = 1 << 22
"""Tokens that are looked at at once for what is repeated."""


def repeated(tokens: np.ndarray, ends: np.ndarray, reach: int) -> np.ndarray:
    """(N,): whether a token belongs to a passage of REPEATED_TOKENS that begins in its document, at most `reach` tokens
    before, too: what is right there may be copied, not known."""
    found = np.zeros(len(tokens), bool)
    for begin in range(0, len(tokens), BLOCK_TOKENS):
        first = max(0, begin - reach)
        block = tokens[first : begin + BLOCK_TOKENS + REPEATED_TOKENS]
        found[first : first + len(block)] |= _repeated_in(block, first, ends, reach)
    return found


def _repeated_in(tokens: np.ndarray, first: int, ends: np.ndarray, reach: int) -> np.ndarray:
    num = len(tokens) - REPEATED_TOKENS + 1
    found = np.zeros(len(tokens), bool)
    if num < 2:
        return found
    hashes = np.zeros(num, np.uint64)
    for offset in range(REPEATED_TOKENS):
        hashes = hashes * np.uint64(GOLDEN_RATIO) + tokens[offset : offset + num].astype(np.uint64) + np.uint64(1)
    order = np.argsort(hashes, kind="stable")
    earlier, later = order[:-1], order[1:]
    document = np.searchsorted(ends, [first + earlier, first + later + REPEATED_TOKENS - 1], side="right")
    is_again = (hashes[earlier] == hashes[later]) & (later - earlier <= reach) & (document[0] == document[1])
    for offset in range(REPEATED_TOKENS):
        found[later[is_again] + offset] = True
    return found
