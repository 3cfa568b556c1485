"""A paired preference that is judged one pair after the other, by somebody who may stop, or go on, at any time.

A p value that is looked at after every pair finds a difference sooner or later where there is none. An e-process does
not: were the two equally good, the probability that it ever reaches 1 / alpha is at most alpha (Ville 1939; Ramdas et
al. 2023). The one here is Robbins' mixture (1970) of likelihood ratios, for the share p of the decided pairs that the
first one wins: of a uniform p against p = 1/2, or against another p, which gives a confidence sequence.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from gptsmith.evaluate.statistics import Interval

ALPHA = 0.05
"""Two-sided: of two that are equally good, one is called better in so many cases at most, however long it is judged."""
USEFUL_DIFFERENCE = 0.3
"""The share of the pairs that one wins less the share that it loses: 65 against 35 of 100. Less is called alike."""
MOST_MORE = 200
"""Nobody judges more pairs than that."""
BISECTIONS = 40

Verdict = Literal["better", "worse", "alike", "unclear"]


def log_e_value(wins: int, losses: int, share: float = 0.5) -> float:
    """The logarithm of the e-process against the hypothesis that a share of the decided pairs is won.

    ln B(wins + 1, losses + 1) - wins ln share - losses ln(1 - share)
    """
    mixture = math.lgamma(wins + 1) + math.lgamma(losses + 1) - math.lgamma(wins + losses + 2)
    return mixture - (wins * math.log(share) if wins else 0.0) - (losses * math.log1p(-share) if losses else 0.0)


def confidence_sequence(wins: int, losses: int, alpha: float = ALPHA) -> Interval:
    """The shares that the e-process does not exclude: the true one is in all such intervals, one after each pair,
    in 1 - alpha of cases."""
    bound = math.log(1 / alpha)
    if wins + losses == 0:
        return Interval(0.0, 1.0)
    middle = wins / (wins + losses)

    def end(outside: float) -> float:
        inside = middle
        for _ in range(BISECTIONS):
            share = (inside + outside) / 2
            is_excluded = log_e_value(wins, losses, min(max(share, 1e-12), 1 - 1e-12)) >= bound
            inside, outside = (inside, share) if is_excluded else (share, outside)
        return outside

    return Interval(0.0 if wins == 0 else end(0.0), 1.0 if losses == 0 else end(1.0))


@dataclass(frozen=True)
class PairedPreference:
    """The pairs that were judged so far.

    Attributes:
        wins: pairs that the new one won.
        losses: pairs that the old one won.
        ties: pairs in which neither did. They are no evidence for either.
    """

    wins: int = 0
    losses: int = 0
    ties: int = 0

    @property
    def num_pairs(self) -> int:
        return self.wins + self.losses + self.ties

    @property
    def e_value(self) -> float:
        """How many times as likely the pairs are if one is better than if both are equally good."""
        return math.exp(min(log_e_value(self.wins, self.losses), 700.0))

    @property
    def p(self) -> float:
        """A p value that holds whenever the judging stops."""
        return min(1.0, 1 / self.e_value)

    @cached_property
    def verdict(self) -> Verdict:
        """Better or worse, as soon as that is beyond chance; alike, if a useful difference is; else unclear."""
        if log_e_value(self.wins, self.losses) >= math.log(1 / ALPHA):
            return "better" if self.wins > self.losses else "worse"
        # The difference is (2 p - 1) times the share that is decided: both are bounded, each at half of alpha.
        decided = confidence_sequence(self.wins + self.losses, self.ties, ALPHA / 2).high
        low, high = confidence_sequence(self.wins, self.losses, ALPHA / 2)
        return "alike" if decided * max(2 * high - 1, 1 - 2 * low) < USEFUL_DIFFERENCE else "unclear"

    @property
    def num_more(self) -> int | None:
        """About how many more pairs are needed for a verdict at the present rate; None if those are more than
        `MOST_MORE`, or nothing was judged yet."""
        if self.verdict != "unclear":
            return 0
        if self.num_pairs == 0:
            return None
        found = bisect_left(range(1, MOST_MORE + 1), True, key=lambda more: self._projected(more).verdict != "unclear")
        return None if found == MOST_MORE else found + 1

    def _projected(self, num_more: int) -> PairedPreference:
        """The pairs after so many more, if they come out as those so far."""
        factor = 1 + num_more / self.num_pairs
        return PairedPreference(*(round(count * factor) for count in (self.wins, self.losses, self.ties)))
