"""Intervals and tests of pairs against published values, scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from gptsmith.evaluate.statistics import (
    accuracy,
    bootstrap_interval,
    confusion_matrix,
    macro_f1,
    paired_means,
    paired_proportions,
    paired_t_interval,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("right", "count", "expected"),
    [  # Newcombe 1998, table I, method 3
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilsons_interval_is_the_published_one(right: int, count: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(right, count) == pytest.approx(expected, abs=5e-5)
    low, high = wilson_interval(count - right, count)
    assert (1 - high, 1 - low) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("right", "count", "confidence"), [(0, 1, 0.95), (1, 1, 0.95), (7, 9, 0.9), (40, 1000, 0.99)])
def test_wilsons_interval_is_that_of_scipy(right: int, count: int, confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(right, count).proportion_ci(confidence, method="wilson")
    assert wilson_interval(right, count, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_ends_of_wilsons_interval_are_exact() -> None:
    assert wilson_interval(0, 7).low == 0.0
    assert wilson_interval(7, 7).high == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


def pairs(both: int, ours: int, theirs: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Outcomes of two on the same examples, by how many only one has right."""
    first = [True] * both + [True] * ours + [False] * theirs + [False] * neither
    second = [True] * both + [False] * ours + [True] * theirs + [False] * neither
    return first, second


def test_mcnemars_test_has_known_answers() -> None:
    assert paired_proportions(*pairs(50, 0, 0, 50)) == 1.0
    assert paired_proportions(*pairs(3, 5, 5, 9)) == 1.0
    assert paired_proportions(*pairs(0, 1, 9, 0)) == pytest.approx(2 * 11 / 2**10, rel=1e-12)
    assert paired_proportions(*pairs(7, 0, 6, 0)) == pytest.approx(2 / 2**6, rel=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), [(59, 6), (121, 59), (12, 25), (400, 460), (3000, 2950)])
def test_mcnemars_test_is_the_sign_test_of_scipy(ours: int, theirs: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(min(ours, theirs), ours + theirs, 0.5).pvalue
    assert paired_proportions(*pairs(10, ours, theirs, 10)) == pytest.approx(expected, rel=1e-8)


def test_the_bootstrap_of_a_mean_is_the_normal_interval_of_many() -> None:
    values = np.random.Generator(np.random.PCG64(0)).normal(3.0, 2.0, size=400)
    half = 1.96 * values.std() / 20
    assert bootstrap_interval(values, seed=0) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    narrow, wide = (bootstrap_interval(values, seed=0, confidence=confidence) for confidence in (0.5, 0.95))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_bootstrap_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.Generator(np.random.PCG64(1)).exponential(size=60)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(0))
    expected = (theirs.confidence_interval.low, theirs.confidence_interval.high)
    assert bootstrap_interval(values, seed=0) == pytest.approx(expected, abs=0.02)


def test_the_seed_decides_an_interval() -> None:
    values = np.arange(30.0) ** 2
    first, again, other = (bootstrap_interval(values, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_paired_means_tell_a_real_difference_from_none() -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    hard = generator.normal(size=200) * 5
    theirs, better, same = (hard + generator.normal(shift, 0.5, size=200) for shift in (0.0, -0.3, 0.0))
    found = paired_means(better, theirs, seed=0)
    assert found.low < found.difference < found.high < 0
    assert found.difference == pytest.approx((better - theirs).mean(), abs=1e-12)
    assert found.p < 0.001
    nothing = paired_means(same, theirs, seed=0)
    assert nothing.low < 0 < nothing.high
    assert nothing.p > 0.05
    assert paired_means(theirs, theirs, seed=0) == (0, 0, 0, 1)


def test_the_p_value_is_that_of_scipys_permutations() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.Generator(np.random.PCG64(3))
    ours = generator.normal(size=9)
    theirs = ours + generator.normal(0.4, 0.8, size=9)
    exact = stats.permutation_test(
        (ours, theirs), lambda a, b, axis: (a - b).mean(axis=axis), permutation_type="samples", n_resamples=np.inf,
        vectorized=True,
    )  # fmt: skip
    assert paired_means(ours, theirs, seed=0).p == pytest.approx(exact.pvalue, abs=0.03)


def test_figures_of_labels_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.Generator(np.random.PCG64(0))
    answers = generator.integers(0, 4, size=(80, 2))
    answers[answers == 3] = 4  # a label that nobody says and that is never true
    true, said = answers.T
    assert accuracy(answers) == pytest.approx(metrics.accuracy_score(true, said))
    assert macro_f1(answers) == pytest.approx(metrics.f1_score(true, said, average="macro"))
    expected = metrics.confusion_matrix(true, said, labels=range(6))
    assert (confusion_matrix(answers, 6) == expected).all()


def test_macro_f1_has_a_known_answer() -> None:
    answers = np.array([[0, 0], [0, 0], [0, 1], [1, 1], [1, 0], [2, 0]])
    assert confusion_matrix(answers, 3).tolist() == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    assert macro_f1(answers) == pytest.approx((4 / 7 + 2 / 4 + 0) / 3)
    assert accuracy(answers) == 0.5


@pytest.mark.parametrize("count", [2, 3, 10, 30])
def test_the_interval_of_few_pairs_is_students(count: int) -> None:
    generator = np.random.Generator(np.random.PCG64(count))
    ours, theirs = generator.normal(size=(2, count))
    stats = pytest.importorskip("scipy.stats")
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert paired_t_interval(ours, theirs) == pytest.approx((expected.low, expected.high), rel=1e-3)
