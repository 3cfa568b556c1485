"""Metrics with their confidence intervals, and paired tests of two models."""

from __future__ import annotations

import numpy as np
import pytest

from gptsmith.evaluate.metric import Metric
from gptsmith.evaluate.statistics import macro_f1, mean, paired_proportions, permutation_test, wilson_interval

RIGHT = np.array([True] * 30 + [False] * 10)
OTHER = np.array([True] * 20 + [False] * 20)


def test_a_proportion_has_wilsons_interval_and_mcnemars_test() -> None:
    ours, theirs = Metric.proportion("accuracy", RIGHT, 0.25), Metric.proportion("accuracy", OTHER, 0.25)
    summary = ours.summary(seed=0)
    assert summary == {
        "value": 0.75,
        "interval": list(wilson_interval(30, 40)),
        "baseline": 0.25,
        "num_examples": 40,
    }
    found = ours.compare(theirs, seed=0)
    assert (found["value"], found["against"], found["difference"]) == (0.75, 0.5, 0.25)
    assert found["p_value"] == paired_proportions(RIGHT, OTHER) == 2 / 2**10
    assert found["difference_interval"] == pytest.approx([0.125, 0.4], abs=0.03)


def test_another_statistic_has_a_bootstrap_and_a_permutation_test() -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    true = generator.integers(3, size=90)
    good = np.where(generator.random(90) < 0.8, true, (true + 1) % 3)
    ours, theirs = np.stack([true, good], axis=1), np.stack([true, np.zeros_like(true)], axis=1)
    metric, other = Metric("macro_f1", ours, macro_f1, 0.17), Metric("macro_f1", theirs, macro_f1, 0.17)
    summary = metric.summary(seed=0)
    assert summary["interval"][0] < summary["value"] == macro_f1(ours) < summary["interval"][1]
    found = metric.compare(other, seed=3)
    assert found["p_value"] == permutation_test(ours, theirs, macro_f1, seed=3) < 0.01
    assert found["difference_interval"][0] < found["difference"] < found["difference_interval"][1]
    assert metric.compare(other, seed=3) == found


def test_what_is_as_far_apart_but_for_rounding_counts() -> None:
    values = np.array([0.1, 0.7, 1.3])
    # Of the eight ways to swap three outcomes that all differ by as much, two are as far apart as the real one.
    assert permutation_test(values + 0.1, values, mean, seed=0) == pytest.approx(2 / 8, abs=0.03)


def test_a_model_does_not_differ_from_itself() -> None:
    for metric in (Metric.proportion("accuracy", RIGHT, 0.0), Metric("nats", np.arange(40.0), np.mean)):
        found = metric.compare(metric, seed=0)
        assert (found["difference"], found["difference_interval"], found["p_value"]) == (0, [0, 0], 1)
