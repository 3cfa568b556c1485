"""A lower bound on epsilon from one training run (Steinke, Nasr and Jagielski 2023, arXiv 2305.08846).

Coins decide what is in the training data, and somebody who sees the model guesses them. Of a training with
(epsilon, delta)-differential privacy nobody guesses much more than e^epsilon / (1 + e^epsilon) of them right.
"""

from __future__ import annotations

import math

import numpy as np

from gptsmith.evaluate.statistics import CONFIDENCE

MAX_EPSILON = 100.0
PRECISION = 1e-9


def epsilon_lower_bound(
    num_right: int,
    num_guesses: int,
    num_coins: int,
    *,
    delta: float = 0.0,
    replaces: bool = False,
    confidence: float = CONFIDENCE,
) -> float:
    """The largest epsilon that so many right guesses rule out; 0 if they rule out none.

    No more can be shown with so few coins, whatever the model gives away, than by guesses that are all right.

    Args:
        num_guesses: the coins that were guessed, which must not depend on which guesses are right.
        num_coins: all coins, also those that nobody guessed.
        delta: the delta of the claim that is tested.
        replaces: whether a coin decides which of two documents is there, and the claim is about one that is there or
            not. To replace is to remove and to add: of (epsilon, delta) for one, (2 epsilon, (1 + e^epsilon) delta)
            follows for both.
    """
    assert 0 <= num_right <= num_guesses <= num_coins

    def is_ruled_out(epsilon: float) -> bool:
        both = (2 * epsilon, (1 + math.exp(epsilon)) * delta) if replaces else (epsilon, delta)
        return p_value(both[0], num_right, num_guesses, num_coins, both[1]) <= 1 - confidence

    low, high = 0.0, MAX_EPSILON
    if not is_ruled_out(low):
        return low
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if is_ruled_out(middle) else (low, middle)
    return low


def p_value(epsilon: float, num_right: int, num_guesses: int, num_coins: int, delta: float = 0.0) -> float:
    """The largest probability of so many right guesses or more, after a training with (epsilon, delta)-privacy.

    P[B >= v] + 2 m delta max_i (P[B >= v - i] - P[B >= v]) / i, where B is binomial: r guesses, each of them right with
    the probability 1 / (1 + e^-epsilon) (theorem 5.2).
    """
    tails = _binomial_tails(num_guesses, 1 / (1 + math.exp(-epsilon)))
    beyond = float(tails[num_right])
    if delta == 0 or num_right == 0:
        return beyond
    distances = np.arange(1, num_right + 1)
    steepest = float(((tails[num_right - distances] - beyond) / distances).max())
    return min(1.0, beyond + 2 * num_coins * delta * steepest)


def _binomial_tails(count: int, probability: float) -> np.ndarray:
    """P[B >= k] for k = 0 ... `count` (count + 1,), of a binomial B; the probability is above 0."""
    if probability >= 1:
        return np.ones(count + 1)
    logarithms = [math.lgamma(k + 1) for k in range(count + 1)]  # ln k!
    factorials, hits = np.array(logarithms), np.arange(count + 1)
    ways = factorials[-1] - factorials - factorials[::-1]
    exact = np.exp(ways + hits * math.log(probability) + (count - hits) * math.log1p(-probability))
    return np.minimum(1.0, exact[::-1].cumsum()[::-1])
