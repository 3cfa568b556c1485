"""A metric over examples: its value, its confidence interval, and the paired test between two models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gptsmith.evaluate import statistics
from gptsmith.evaluate.statistics import Interval, Statistic


@dataclass(frozen=True)
class Metric:
    """The outcome of each example, and the statistic of all of them.

    Attributes:
        name: such as `accuracy`.
        outcomes: (N, ...), one outcome per example.
        statistic: the value of some outcomes.
        baseline: the value of guessing; None if nothing can be guessed.
        is_proportion: whether the outcomes are true or false and the statistic is the proportion of the true ones.
    """

    name: str
    outcomes: np.ndarray
    statistic: Statistic
    baseline: float | None = None
    is_proportion: bool = False

    @classmethod
    def proportion(cls, name: str, correct: np.ndarray, baseline: float) -> Metric:
        """The proportion of examples that are correct (N)."""
        return cls(name, correct.astype(bool), statistics.mean, baseline, is_proportion=True)

    def interval(self, seed: int) -> Interval:
        """Wilson's interval for a proportion, the bootstrap for any other statistic."""
        if self.is_proportion:
            return statistics.wilson_interval(int(self.outcomes.sum()), len(self.outcomes))
        return statistics.bootstrap_interval(self.outcomes, self.statistic, seed=seed)

    def summary(self, seed: int) -> dict[str, Any]:
        """value, interval, baseline, num_examples."""
        interval = self.interval(seed)
        return {
            "value": self.statistic(self.outcomes),
            "interval": [interval.low, interval.high],
            "baseline": self.baseline,
            "num_examples": len(self.outcomes),
        }

    def of(self, chosen: np.ndarray) -> Metric | None:
        """The metric of the examples that a mask (N) chooses, without a baseline; None if it chooses none."""
        return replace(self, outcomes=self.outcomes[chosen], baseline=None) if chosen.any() else None

    def compare(self, other: Metric, seed: int) -> dict[str, Any]:
        """value, against, difference (this minus the other), difference_interval, p_value.

        The test is McNemar's exact test for a proportion, and a paired permutation test for any other statistic.
        """
        first, second = self.outcomes, other.outcomes
        found = statistics.paired_means(first, second, self.statistic, seed=seed)
        return {
            "value": self.statistic(first),
            "against": self.statistic(second),
            "difference": found.difference,
            "difference_interval": [found.low, found.high],
            "p_value": statistics.paired_proportions(first, second) if self.is_proportion else found.p,
        }
