"""A figure of merit over examples: its value, how sure it is, and whether two models differ in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gptsmith.evaluate import statistics
from gptsmith.evaluate.statistics import Figure, Interval


@dataclass(frozen=True)
class Measure:
    """What came out of each example, and the figure that it makes.

    Attributes:
        name: `accuracy`.
        outcomes: (N, ...), an outcome an example.
        figure: what some outcomes come to.
        baseline: what guessing comes to; nothing where there is nothing to guess.
        is_share: whether the outcomes are true or false and the figure is the share of the true ones.
    """

    name: str
    outcomes: np.ndarray
    figure: Figure
    baseline: float | None = None
    is_share: bool = False

    @classmethod
    def share(cls, name: str, right: np.ndarray, baseline: float) -> Measure:
        """The share of examples that are right (N)."""
        return cls(name, right.astype(bool), statistics.mean, baseline, is_share=True)

    def interval(self, seed: int) -> Interval:
        """Wilson's for a share, a bootstrap for any other figure."""
        if self.is_share:
            return statistics.wilson_interval(int(self.outcomes.sum()), len(self.outcomes))
        return statistics.bootstrap_interval(self.outcomes, self.figure, seed=seed)

    def figures(self, seed: int) -> dict[str, Any]:
        """value, interval, baseline, num_examples."""
        interval = self.interval(seed)
        return {
            "value": self.figure(self.outcomes),
            "interval": [interval.low, interval.high],
            "baseline": self.baseline,
            "num_examples": len(self.outcomes),
        }

    def against(self, other: Measure, seed: int) -> dict[str, Any]:
        """value, against, difference (this less the other), difference_interval, p_value.

        The test is McNemar's, exact, for a share, and swaps the outcomes of examples for any other figure.
        """
        first, second = self.outcomes, other.outcomes
        found = statistics.paired_means(first, second, self.figure, seed=seed)
        return {
            "value": self.figure(first),
            "against": self.figure(second),
            "difference": found.difference,
            "difference_interval": [found.low, found.high],
            "p_value": statistics.paired_proportions(first, second) if self.is_share else found.p,
        }
