"""The lower bound on epsilon from one run: published and exact values, and what chance gives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gptsmith.privacy.bound import epsilon_lower_bound, p_value


@pytest.mark.parametrize(
    ("right", "guesses", "epsilon"), [(39, 40, 2.06), (40, 40, 2.55), (1_000, 1_000, 5.81), (560, 1_000, 0.13)]
)
def test_known_bounds(right: int, guesses: int, epsilon: float) -> None:
    assert epsilon_lower_bound(right, guesses, guesses) == pytest.approx(epsilon, abs=0.005)


def test_where_all_are_right_it_is_exact() -> None:
    # q^n = 0.05, and q = 1 / (1 + e^-epsilon)
    q = 0.05 ** (1 / 40)
    assert epsilon_lower_bound(40, 40, 40) == pytest.approx(math.log(q / (1 - q)), abs=1e-6)


def test_tails_are_those_of_the_binomial() -> None:
    # of 3 guesses at 1/2: 1, 7/8, 4/8, 1/8
    assert [p_value(0.0, right, 3, 3) for right in range(4)] == pytest.approx([1, 7 / 8, 4 / 8, 1 / 8])


def test_delta_adds_its_term() -> None:
    # (P[B >= 2 - i] - P[B >= 2]) / i = 3/8 (i = 1), 1/4 (i = 2); the largest counts, times 2 m delta
    assert p_value(0.0, 2, 3, 5, delta=0.01) == pytest.approx(4 / 8 + 2 * 5 * 0.01 * 3 / 8)
    bounds = [epsilon_lower_bound(39, 40, 40, delta=delta) for delta in (0.0, 1e-5, 1e-3, 1e-2, 0.1)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] > bounds[-1] == 0


def test_nothing_guessed_shows_nothing() -> None:
    assert epsilon_lower_bound(0, 0, 10) == 0


def test_a_coin_between_two_twins_shows_half_for_a_document_that_is_there_or_not() -> None:
    assert epsilon_lower_bound(39, 40, 40, replaces=True) == pytest.approx(
        epsilon_lower_bound(39, 40, 40) / 2, abs=1e-6
    )
    # and less than half with a delta, of which both steps have one
    whole = epsilon_lower_bound(95, 100, 100, delta=1e-4)
    assert 0 < epsilon_lower_bound(95, 100, 100, delta=1e-4, replaces=True) < whole / 2


def test_tossed_guesses_show_nothing_in_95_of_100_runs() -> None:
    right = np.random.default_rng(1).binomial(100, 0.5, size=20_000)
    bounds = np.array([epsilon_lower_bound(v, 100, 100) for v in range(101)])
    share_above = (bounds[right] > 0).mean()
    assert share_above <= 0.05
    assert share_above > 0.02  # it is no looser than it has to be: 59 of 100 and more
