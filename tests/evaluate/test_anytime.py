"""The paired test of pairs that are judged one by one: known answers, and coins that nobody may take for better."""

from __future__ import annotations

import math
import random

import pytest
from scipy.special import betaln

from gptsmith.evaluate.anytime import PairedPreference, confidence_sequence, log_e_value


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (8, 0), (3, 9), (120, 80)])
def test_the_e_process_is_the_mixture_of_likelihood_ratios(wins: int, losses: int) -> None:
    expected = betaln(wins + 1, losses + 1) + (wins + losses) * math.log(2)
    assert log_e_value(wins, losses) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.3, 0.9])
def test_the_e_process_is_a_martingale_under_the_hypothesis(share: float) -> None:
    for wins, losses in ((0, 0), (4, 1), (10, 30)):
        following = share * math.exp(log_e_value(wins + 1, losses, share))
        following += (1 - share) * math.exp(log_e_value(wins, losses + 1, share))
        assert following == pytest.approx(math.exp(log_e_value(wins, losses, share)))


@pytest.mark.parametrize(
    ("wins", "losses", "ties", "verdict"),
    [
        (0, 0, 0, "unclear"),
        (7, 0, 0, "unclear"),  # 2^7 / 8 = 16
        (8, 0, 0, "better"),  # 2^8 / 9 = 28
        (8, 0, 40, "better"),
        (0, 8, 3, "worse"),
        (6, 3, 0, "unclear"),
        (0, 0, 10, "unclear"),
        (0, 0, 20, "alike"),
        (150, 150, 0, "alike"),
        (15, 15, 60, "alike"),
    ],
)
def test_known_verdicts(wins: int, losses: int, ties: int, verdict: str) -> None:
    assert PairedPreference(wins, losses, ties).verdict == verdict


def test_pairs_that_are_still_needed() -> None:
    assert PairedPreference().num_more is None
    assert PairedPreference(4, 0).num_more == 4
    assert PairedPreference(8, 0).num_more == 0
    assert PairedPreference(4, 0, 4).num_more == 7  # half of the pairs are ties, and the last one need not be
    more = PairedPreference(9, 4).num_more
    assert more is not None
    assert 10 < more < 60
    assert PairedPreference(9, 6).num_more is None


def test_the_confidence_sequence_holds_the_share_and_narrows() -> None:
    assert confidence_sequence(0, 0) == (0.0, 1.0)
    few, many = confidence_sequence(6, 4), confidence_sequence(60, 40)
    assert few.low < many.low < 0.6 < many.high < few.high
    assert confidence_sequence(0, 17, 0.025).high == pytest.approx(0.321, abs=0.001)
    assert log_e_value(60, 40, many.high) == pytest.approx(math.log(20), abs=1e-6)


@pytest.mark.parametrize("tie_share", [0.0, 0.4])
def test_coins_are_called_better_or_worse_in_at_most_one_of_twenty_even_if_somebody_looks_after_each_pair(
    tie_share: float,
) -> None:
    chance, num_runs = random.Random(0), 2000
    num_wrong = sum(_verdict_of_coins(chance, tie_share) in ("better", "worse") for _ in range(num_runs))
    assert num_wrong / num_runs < 0.05
    assert num_wrong > 0


def test_a_clear_preference_is_found_soon() -> None:
    chance, numbers = random.Random(0), []
    for _ in range(200):
        wins = losses = 0
        while PairedPreference(wins, losses).p > 0.05:
            is_win = chance.random() < 0.9
            wins, losses = wins + is_win, losses + (not is_win)
        assert wins > losses
        numbers.append(wins + losses)
    assert sorted(numbers)[100] <= 14


def _verdict_of_coins(chance: random.Random, tie_share: float) -> str:
    """The first verdict for one, of 200 pairs that are judged by a coin."""
    wins = losses = ties = 0
    for _ in range(200):
        draw = chance.random()
        if draw < tie_share:
            ties += 1
        elif draw < tie_share + (1 - tie_share) / 2:
            wins += 1
        else:
            losses += 1
        if log_e_value(wins, losses) >= math.log(20):
            return PairedPreference(wins, losses, ties).verdict
    return "unclear"
