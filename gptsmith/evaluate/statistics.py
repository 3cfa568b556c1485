"""Statistics of a sample: confidence intervals, and paired tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from gptsmith.base.randomness import derived_seed

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000

Statistic = Callable[[np.ndarray], float]
"""A function of some outcomes (N, ...), such as their mean."""


class Interval(NamedTuple):
    """A confidence interval: the true value lies in it in 95 of 100 cases."""

    low: float
    high: float


class Difference(NamedTuple):
    """Ours minus theirs, the confidence interval of the difference, and the p value of the paired test."""

    difference: float
    low: float
    high: float
    p: float


def mean(outcomes: np.ndarray) -> float:
    """The mean of outcomes (N)."""
    return float(outcomes.mean())


def accuracy(predictions: np.ndarray) -> float:
    """The proportion of predictions that are right.

    Args:
        predictions: (N, 2), the number of the true label and of the predicted one.
    """
    return float((predictions[:, 0] == predictions[:, 1]).mean())


def confusion_matrix(predictions: np.ndarray, num_labels: int) -> np.ndarray:
    """The confusion matrix: (num_labels, num_labels), one row per true label, one column per predicted label.

    Args:
        predictions: (N, 2), the number of the true label and of the predicted one.
    """
    cells = np.bincount(predictions[:, 0] * num_labels + predictions[:, 1], minlength=num_labels**2)
    return cells.reshape(num_labels, num_labels)


def macro_f1(predictions: np.ndarray) -> float:
    """The mean over labels of F1 = 2 TP / (2 TP + FP + FN), over the labels that occur as true or predicted.

    Args:
        predictions: (N, 2), the number of the true label and of the predicted one.
    """
    counts = confusion_matrix(predictions, int(predictions.max()) + 1)
    sizes = counts.sum(axis=0) + counts.sum(axis=1)
    there = sizes > 0
    return float((2 * counts.diagonal()[there] / sizes[there]).mean())


def wilson_interval(right: int, count: int, confidence: float = CONFIDENCE) -> Interval:
    """The confidence interval of a proportion (Wilson 1927): sound near 0 and 1 too, where the usual one is not.

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
    outcomes: Sequence[float] | np.ndarray, statistic: Statistic = mean, *, seed: int, confidence: float = CONFIDENCE
) -> Interval:
    """The percentile bootstrap interval of a statistic of outcomes (N, ...) (Efron 1979)."""
    values, generator = np.asarray(outcomes), _generator(seed, "bootstrap")
    found = [statistic(values[generator.integers(len(values), size=len(values))]) for _ in range(NUM_RESAMPLES)]
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
    ours: Sequence[float] | np.ndarray, theirs: Sequence[float] | np.ndarray, statistic: Statistic = mean, *, seed: int
) -> Difference:
    """statistic(ours) - statistic(theirs), whose outcomes (N, ...) are of the same examples.

    The interval is the bootstrap's, and the p value that of the permutation test.
    """
    first, second = np.asarray(ours), np.asarray(theirs)
    interval = paired_bootstrap_interval(first, second, statistic, seed=seed)
    return Difference(
        statistic(first) - statistic(second), *interval, permutation_test(first, second, statistic, seed=seed)
    )


STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
)  # fmt: skip
"""The 97.5th percentile of Student's t for 1 to 29 degrees of freedom."""


def paired_t_interval(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """The 95 % interval of the mean of ours - theirs, of 2 to 30 pairs (Student 1908): of so few, the bootstrap's is
    too narrow."""
    apart = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    half = STUDENT[len(apart) - 2] * float(apart.std(ddof=1)) / math.sqrt(len(apart))
    return Interval(mean(apart) - half, mean(apart) + half)


def paired_bootstrap_interval(first: np.ndarray, second: np.ndarray, statistic: Statistic, *, seed: int) -> Interval:
    """The interval of statistic(first) - statistic(second), whose outcomes (N, ...) are of the same examples."""
    generator = _generator(seed, "paired bootstrap")
    found = []
    for _ in range(NUM_RESAMPLES):
        drawn = generator.integers(len(first), size=len(first))
        found.append(statistic(first[drawn]) - statistic(second[drawn]))
    return _middle(found, CONFIDENCE)


def permutation_test(first: np.ndarray, second: np.ndarray, statistic: Statistic, *, seed: int) -> float:
    """The p value of statistic(first) - statistic(second) in a paired permutation test of outcomes (N, ...).

    Two-sided, by swapping the two outcomes of examples drawn at random (Noreen 1989). For a mean it is the test that
    flips the signs of the differences.
    """
    generator = _generator(seed, "swap")
    apart = abs(statistic(first) - statistic(second))
    as_far = 0
    for _ in range(NUM_RESAMPLES):
        swapped = generator.integers(2, size=len(first)).astype(bool).reshape(-1, *[1] * (first.ndim - 1))
        one, other = np.where(swapped, second, first), np.where(swapped, first, second)
        # A difference that equals the observed one up to rounding counts as at least as large.
        as_far += abs(statistic(one) - statistic(other)) >= apart * (1 - 1e-12)
    return (as_far + 1) / (NUM_RESAMPLES + 1)


def _generator(seed: int, use: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(derived_seed(seed, use)))


def _middle(found: Sequence[float], confidence: float) -> Interval:
    """The central interval of the percentiles."""
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
