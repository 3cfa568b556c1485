"""Hashes of numbers in numpy, many at a time."""

from __future__ import annotations

import numpy as np

GOLDEN_RATIO = 0x9E3779B97F4A7C15
"""2^64 divided by it, whose powers spread numbers over 64 bits."""
MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


def mixed(values: np.ndarray) -> np.ndarray:
    """Hashes of 64-bit numbers (...,), each bit of which depends on all bits, in their place: the finalizer of
    SplitMix64 (Steele et al. 2014)."""
    for shift, multiplier in zip(SHIFTS, MULTIPLIERS, strict=False):
        values ^= values >> shift
        values *= multiplier
    values ^= values >> SHIFTS[-1]
    return values
