"""How much each setting of a search mattered."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

LEAST_TRIALS = 5
"""With fewer, nothing is said."""


def importance(
    values: Mapping[str, Sequence[float]], losses: Sequence[float], *, log: Collection[str] = ()
) -> dict[str, float]:
    """The share, from 0 to 1, of what the trials differ in that a parabola of each setting alone explains.

    What the trials differ in is the variance of the ranks of their losses, so that one that diverged counts no more
    than the last of the others. A parabola, because a setting that has a best value in the middle neither rises nor
    falls with the loss. The share is R² adjusted for the terms of the parabola (Ezekiel 1930), so that a setting which
    does not matter comes out around 0 however few the trials are, and 0 where that is negative. The shares do not add
    up to 1: what two settings do together belongs to neither, and what either could have done belongs to both.

    Args:
        values: what each trial tried, by setting.
        losses: of the trials; infinite where there was none.
        log: the settings whose logarithm is looked at.

    Returns:
        the share by setting; empty where there are fewer than `LEAST_TRIALS` trials.
    """
    if len(losses) < LEAST_TRIALS:
        return {}
    ranks = _ranks(np.asarray(losses, dtype=float))
    return {
        name: _share(np.asarray([math.log(value) if name in log else value for value in tried], dtype=float), ranks)
        for name, tried in values.items()
    }


def _ranks(values: np.ndarray) -> np.ndarray:
    """The place of each value among all, the mean of their places for those that are equal."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def _share(tried: np.ndarray, ranks: np.ndarray) -> float:
    """R² of the best parabola through the points, adjusted; a line where two values were tried, 0 where one was."""
    num_terms = min(2, len(np.unique(tried)) - 1)
    whole = float(((ranks - ranks.mean()) ** 2).sum())
    if not num_terms or not whole:
        return 0.0
    scaled = (tried - tried.mean()) / tried.std()
    left = float(((ranks - np.polyval(np.polyfit(scaled, ranks, num_terms), scaled)) ** 2).sum())
    freedom = len(ranks) - 1
    return max(0.0, 1 - left / (freedom - num_terms) * freedom / whole)
