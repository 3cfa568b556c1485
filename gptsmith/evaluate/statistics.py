"""What figures of a sample say of what it was drawn from: intervals, and tests of pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from gptsmith.base.randomness import derived_seed

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000

Figure = Callable[[np.ndarray], float]
"""A figure of some outcomes (N, ...), such as their mean."""


class Interval(NamedTuple):
    """Where the true value lies, in 95 of 100 cases."""

    low: float
    high: float


class Difference(NamedTuple):
    """How much more ours is than theirs, where the true difference lies, and how probable one as large would be were
    there none."""

    difference: float
    low: float
    high: float
    p: float


def mean(outcomes: np.ndarray) -> float:
    """The mean of outcomes (N)."""
    return float(outcomes.mean())


def accuracy(answers: np.ndarray) -> float:
    """The share of answers that are right.

    Args:
        answers: (N, 2), the number of the true label and of the answered one.
    """
    return float((answers[:, 0] == answers[:, 1]).mean())


def confusion_matrix(answers: np.ndarray, num_labels: int) -> np.ndarray:
    """How often which label was answered where which is true: (num_labels, num_labels), a row a true label.

    Args:
        answers: (N, 2), the number of the true label and of the answered one.
    """
    cells = np.bincount(answers[:, 0] * num_labels + answers[:, 1], minlength=num_labels**2)
    return cells.reshape(num_labels, num_labels)


def macro_f1(answers: np.ndarray) -> float:
    """The mean over labels of F1 = 2 TP / (2 TP + FP + FN), over the labels that are true or answered somewhere.

    Args:
        answers: (N, 2), the number of the true label and of the answered one.
    """
    counts = confusion_matrix(answers, int(answers.max()) + 1)
    sizes = counts.sum(axis=0) + counts.sum(axis=1)
    there = sizes > 0
    return float((2 * counts.diagonal()[there] / sizes[there]).mean())


def wilson_interval(right: int, count: int, confidence: float = CONFIDENCE) -> Interval:
    """The interval of a share (Wilson 1927): sound near 0 and 1 too, where the usual one is not.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    """
    if count == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, square = right / count, z * z / count
    middle = share + square / 2
    half = z * math.sqrt(share * (1 - share) / count + square / (4 * count))
    low, high = (middle - half) / (1 + square), (middle + half) / (1 + square)
    # Rounding leaves a little at the two ends, where the formula gives exactly 0 and 1.
    return Interval(0.0 if right == 0 else low, 1.0 if right == count else high)


def bootstrap_interval(
    outcomes: Sequence[float] | np.ndarray, figure: Figure = mean, *, seed: int, confidence: float = CONFIDENCE
) -> Interval:
    """The interval of a figure of outcomes (N, ...): of what it is on as many outcomes drawn again and again from them
    (Efron 1979, percentiles)."""
    values, generator = np.asarray(outcomes), _generator(seed, "bootstrap")
    found = [figure(values[generator.integers(len(values), size=len(values))]) for _ in range(NUM_RESAMPLES)]
    return _middle(found, confidence)


def paired_proportions(ours: Sequence[bool] | np.ndarray, theirs: Sequence[bool] | np.ndarray) -> float:
    """The p value of two that are right or wrong on the same examples, were they equally good (McNemar 1947).

    Exact and two-sided: which of the two is right, where only one is, is the toss of a coin.
    """
    first, second = np.asarray(ours, bool), np.asarray(theirs, bool)
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    num_tosses = only_first + only_second
    logarithms = [
        math.lgamma(num_tosses + 1) - math.lgamma(heads + 1) - math.lgamma(num_tosses - heads + 1)
        for heads in range(min(only_first, only_second) + 1)
    ]
    tail = math.fsum(math.exp(logarithm - num_tosses * math.log(2)) for logarithm in logarithms)
    return min(1.0, 2 * tail)


def paired_means(
    ours: Sequence[float] | np.ndarray, theirs: Sequence[float] | np.ndarray, figure: Figure = mean, *, seed: int
) -> Difference:
    """figure(ours) - figure(theirs), whose outcomes (N, ...) are of the same examples.

    The interval is the bootstrap's, and the p value that of swapping.
    """
    first, second = np.asarray(ours), np.asarray(theirs)
    interval = paired_bootstrap_interval(first, second, figure, seed=seed)
    return Difference(figure(first) - figure(second), *interval, swap_test(first, second, figure, seed=seed))


def paired_bootstrap_interval(first: np.ndarray, second: np.ndarray, figure: Figure, *, seed: int) -> Interval:
    """The interval of figure(first) - figure(second), whose outcomes (N, ...) are of the same examples."""
    generator = _generator(seed, "paired bootstrap")
    found = []
    for _ in range(NUM_RESAMPLES):
        drawn = generator.integers(len(first), size=len(first))
        found.append(figure(first[drawn]) - figure(second[drawn]))
    return _middle(found, CONFIDENCE)


def swap_test(first: np.ndarray, second: np.ndarray, figure: Figure, *, seed: int) -> float:
    """The p value of figure(first) - figure(second), were it all the same whose outcome (N, ...) is whose.

    Two-sided, by swapping the two outcomes of examples drawn at random (Noreen 1989). For a mean it is the test that
    flips the signs of the differences.
    """
    generator = _generator(seed, "swap")
    apart = abs(figure(first) - figure(second))
    as_far = 0
    for _ in range(NUM_RESAMPLES):
        swapped = generator.integers(2, size=len(first)).astype(bool).reshape(-1, *[1] * (first.ndim - 1))
        one, other = np.where(swapped, second, first), np.where(swapped, first, second)
        # What is as far apart as the real ones but for rounding counts.
        as_far += abs(figure(one) - figure(other)) >= apart * (1 - 1e-12)
    return (as_far + 1) / (NUM_RESAMPLES + 1)


def _generator(seed: int, use: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(derived_seed(seed, use)))


def _middle(found: Sequence[float], confidence: float) -> Interval:
    """Between the percentiles that leave as much out on either side."""
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
