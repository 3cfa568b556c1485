"""How much of a text can be had within some tries, by trying every passage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gptsmith.privacy.scan import Scan
from gptsmith.privacy.tries import tokens_within, tries_of

SEPARATOR = 9


@pytest.mark.parametrize(
    ("p", "tries"), [(0.9, 1.0), (0.5, 1.0), (0.1, math.log(0.5) / math.log(0.9)), (1e-9, 6.93147e8), (0.0, math.inf)]
)
def test_tries_are_those_for_an_even_chance(p: float, tries: float) -> None:
    found = tries_of(math.log(p) if p else -math.inf)
    assert found == pytest.approx(tries, rel=1e-5)
    if 0 < p < 0.5:
        assert 1 - (1 - p) ** found == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("tries", [1, 5, 40, 10_000])
def test_tokens_within_tries_are_those_of_a_search_by_hand(tries: int) -> None:
    generator = np.random.default_rng(tries)
    tokens = np.where(generator.random(300) < 0.05, SEPARATOR, 1)
    log_p = np.where(tokens == SEPARATOR, np.nan, -generator.exponential(0.5, 300)).astype(np.float32)
    is_repeated = generator.random(300) < 0.05
    length, covered = 6, set()
    for start in range(300 - length + 1):
        here = slice(start, start + length)
        is_whole = not np.isnan(log_p[here]).any() and not is_repeated[here].any()
        if is_whole and tries_of(float(log_p[here].astype(np.float64).sum())) <= tries:
            covered |= set(range(start, start + length))
    assert tokens_within(Scan(tokens, log_p, tokens == 1), is_repeated, length, tries) == len(covered)
    assert tokens_within(Scan(tokens, log_p, tokens == 1), is_repeated, 301, tries) == 0
    assert len(covered) > 0 or tries == 1
