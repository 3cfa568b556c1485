"""Membership by scores: known answers, and what shuffled labels give."""

from __future__ import annotations

import numpy as np
import pytest

from gptsmith.privacy.membership import auc, auc_interval, membership, min_k_plus_plus, true_positives


def test_auc_counts_pairs_and_halves_of_ties() -> None:
    # of the pairs (3, 2), (3, 3), (1, 2), (1, 3): one won, one tied
    assert auc(np.array([3.0, 1.0]), np.array([2.0, 3.0])) == pytest.approx(1.5 / 4)


def test_shuffled_labels_have_an_interval_that_holds_a_half() -> None:
    generator = np.random.default_rng(1)
    scores = generator.normal(size=(100, 60))
    intervals = [auc_interval(row[:30], row[30:], seed=number) for number, row in enumerate(scores)]
    held = np.mean([low <= 0.5 <= high for low, high in intervals])
    assert 0.9 <= held <= 0.99


def test_without_any_overlap_the_interval_still_says_how_few_there_were() -> None:
    low, high = auc_interval(np.arange(10.0) + 100, np.arange(20.0), seed=1)
    assert 0.7 < low < 0.75  # Wilson's of 10 of 10
    assert high == 1
    assert auc_interval(np.arange(20.0), np.arange(10.0) + 100, seed=1)[0] == 0


def test_true_positives_where_one_in_a_hundred_is_falsely_found() -> None:
    others = np.arange(200.0)  # the two highest, 198 and 199, may be taken for members
    assert true_positives(np.array([199.5, 198.5, 197.5, 197.0, 3.0]), others) == pytest.approx(3 / 5)
    # with fewer than a hundred, none may
    assert true_positives(np.array([98.5, 97.5]), np.arange(99.0)) == pytest.approx(1 / 2)


def test_least_likely_tokens_are_what_min_k_looks_at() -> None:
    scores = min_k_plus_plus([np.array([5.0, -1.0, 5.0, 5.0, -3.0, 5.0, 5.0, 5.0, 5.0, 5.0]), np.array([2.0])])
    assert scores == pytest.approx([-2.0, 2.0])


def test_figures_are_json_values() -> None:
    found = membership(np.array([3.0, 1.0]), np.array([2.0, 0.0]), seed=1).plain()
    assert found["auc"] == 0.75
    assert found["true_positives_at_1_percent"] == 0.5
    assert found["interval"][0] <= 0.75 <= found["interval"][1]
