"""Membership: how well scores tell what a model was trained on from what it was not. Members have the high ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gptsmith.base.randomness import derived_seed
from gptsmith.evaluate.statistics import CONFIDENCE, NUM_RESAMPLES, Interval, wilson_interval

FALSE_POSITIVES = 0.01
"""The share of what is out that an attacker may take for what is in: accusing everybody finds everybody."""
LEAST_LIKELY = 0.2
"""The share of the tokens of a text that Min-K%++ looks at."""


@dataclass(frozen=True)
class Membership:
    """How well scores tell members from others.

    Attributes:
        auc: the probability that a member scores higher than one that is none; 0.5 for scores that tell nothing.
        interval: the confidence interval of `auc`.
        true_positives: the share of members found where at most `FALSE_POSITIVES` of the others are taken for members.
        num_members, num_others: how many there were.
    """

    auc: float
    interval: Interval
    true_positives: float
    num_members: int
    num_others: int

    def plain(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "auc": self.auc,
            "interval": list(self.interval),
            "true_positives_at_1_percent": self.true_positives,
            "num_members": self.num_members,
            "num_others": self.num_others,
        }


def membership(members: np.ndarray, others: np.ndarray, *, seed: int) -> Membership:
    """How well the scores of members (N,) are told from those of others (M,), which are drawn from the same source."""
    return Membership(
        auc=auc(members, others),
        interval=auc_interval(members, others, seed=seed),
        true_positives=true_positives(members, others),
        num_members=len(members),
        num_others=len(others),
    )


def auc(members: np.ndarray, others: np.ndarray) -> float:
    """The area under the ROC curve: P[member > other] + P[member = other] / 2."""
    return float(_comparisons(members, others).mean())


def auc_interval(members: np.ndarray, others: np.ndarray, *, seed: int, confidence: float = CONFIDENCE) -> Interval:
    """The percentile bootstrap interval of the AUC, by resampling members and others apart.

    Where the two do not overlap at all every resample says the same. Then it is Wilson's, of as many trials as the
    smaller group has, all of one outcome.
    """
    compared = _comparisons(members, others)
    found, fewer = float(compared.mean()), min(compared.shape)
    if found in (0.0, 1.0):
        return wilson_interval(round(found) * fewer, fewer, confidence)
    generator = np.random.Generator(np.random.PCG64(derived_seed(seed, "auc")))
    rows, columns = (_resampled(generator, size) for size in compared.shape)
    resamples = ((rows @ compared) * columns).sum(axis=1) / compared.size
    low, high = np.quantile(resamples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def true_positives(members: np.ndarray, others: np.ndarray, false_positives: float = FALSE_POSITIVES) -> float:
    """The share of members above the lowest threshold that at most that share of the others is above."""
    allowed = int(false_positives * len(others) + 1e-9)
    threshold = np.sort(others)[::-1][allowed] if allowed < len(others) else -np.inf
    return float((members > threshold).mean())


def min_k_plus_plus(surprises: Sequence[np.ndarray], share: float = LEAST_LIKELY) -> np.ndarray:
    """The score of each text (N,): the mean over the least likely tokens of how likely each was beside what else could
    have stood there (Zhang and others 2024, arXiv 2404.02936).

    Args:
        surprises: of each text (T,), (ln p - mean of ln p) / standard deviation of ln p, where mean and deviation are
            those under the model's own prediction.
    """
    return np.array([np.sort(each)[: max(1, round(share * len(each)))].mean() for each in surprises])


def _comparisons(members: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, M): 1 where the member scores higher, a half where both score the same."""
    assert min(len(members), len(others)) > 0, "nothing is to be told apart"
    return (members[:, None] > others) + (members[:, None] == others) / 2


def _resampled(generator: np.random.Generator, size: int) -> np.ndarray:
    """(NUM_RESAMPLES, size): how often each of them is in each resample."""
    return generator.multinomial(size, np.full(size, 1 / size), NUM_RESAMPLES).astype(np.float32)
