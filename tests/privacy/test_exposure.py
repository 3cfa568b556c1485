"""Exposure by rank: what chance gives, and the ends of the scale."""

from __future__ import annotations

import numpy as np
import pytest

from gptsmith.privacy.exposure import EXPECTED, exposure, mean_exposure


def test_uniform_ranks_give_1_44_bits() -> None:
    ranked = exposure(np.arange(400.0) - 0.5, np.tile(np.arange(399.0), (400, 1)))  # each rank of 400 once
    assert sorted(ranked) == pytest.approx(sorted(np.log2(400 / np.arange(1, 401))))
    assert ranked.mean() == pytest.approx(EXPECTED, abs=0.02)
    assert pytest.approx(1.4427, abs=1e-4) == EXPECTED


def test_the_first_of_400_has_all_bits_and_the_last_none() -> None:
    references = np.tile(np.arange(399.0), (2, 1))
    assert exposure(np.array([500.0, -1.0]), references) == pytest.approx([np.log2(400), 0])


def test_those_that_are_as_likely_share_the_rank() -> None:
    # a model that knows nothing at all ranks no secret first
    assert exposure(np.zeros(1), np.zeros((1, 399))) == pytest.approx([np.log2(400 / 200.5)])


def test_the_mean_has_an_interval_over_secrets() -> None:
    found = mean_exposure(np.array([1.0, 2.0, 3.0]), seed=1)
    assert found.bits == 2
    assert 1 <= found.interval.low < 2 < found.interval.high <= 3
