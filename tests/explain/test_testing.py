"""The test beside a claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pytest
import torch

from gptsmith.explain.claim import CHANCE, HOLDS, NOT_TESTED
from gptsmith.explain.question import Question
from gptsmith.explain.testing import (
    RANDOM_CHOICES,
    can_tell,
    compared,
    fewest_named,
    random_choices,
    try_parts,
    try_units,
    verdict_on,
)

Numbers = Sequence[tuple[int, ...]]


def sums(effects: Sequence[float]) -> Callable[[Numbers], list[float]]:
    """Changes that are the sums of what parts do alone."""
    return lambda choices: [sum(effects[number] for number in choice) for choice in choices]


def test_the_best_parts_hold_and_others_do_not() -> None:
    effects = [5.0, 4.0, *np.linspace(1, 0, 28)]
    best = try_parts({"remove": sums(effects)}, 30, [1, 0], noun="words")
    assert best.verdict == HOLDS
    assert (best.tests[0].change, best.tests[0].p_value, best.tests[0].num_removed) == (9.0, 1 / 21, 2)
    assert best.tests[0].random_interval[0] < best.tests[0].random_mean < best.tests[0].random_interval[1] < 9
    assert "20 random choices of 2 words" in best.why
    assert try_parts({"remove": sums(effects)}, 30, [2, 29], noun="words").verdict == CHANCE


def test_every_way_of_changing_must_agree() -> None:
    good, bad = [5.0, *[0.0] * 29], [0.0, *[1.0] * 29]
    outcome = try_parts({"remove": sums(good), "replace": sums(bad)}, 30, [0], noun="words")
    assert outcome.verdict == CHANCE
    assert outcome.hardest is not None
    assert outcome.hardest.how == "replace"


def test_parts_that_all_do_the_same_are_no_better_than_chance() -> None:
    assert try_parts({"remove": sums([1.0] * 30)}, 30, [4], noun="words").verdict == CHANCE
    against = [-3.0, *[-9.0] * 29]  # the best of all, and still not for the answer
    assert try_parts({"remove": sums(against)}, 30, [0], noun="words").verdict == CHANCE


@pytest.mark.parametrize(
    ("num_parts", "num_named", "is_tested"), [(19, 1, False), (20, 1, True), (6, 3, True), (6, 2, False)]
)
def test_too_few_parts_are_not_tested_at_all(num_parts: int, num_named: int, is_tested: bool) -> None:
    effects = [9.0 if number < num_named else 0.0 for number in range(num_parts)]
    outcome = try_parts({"remove": sums(effects)}, num_parts, range(num_named), noun="words")
    assert (outcome.verdict == NOT_TESTED) != is_tested
    assert outcome.verdict == (HOLDS if is_tested else NOT_TESTED)
    assert is_tested or f"with {num_parts} words to choose from" in outcome.why
    assert try_parts({}, num_parts, [], noun="words").verdict == NOT_TESTED
    assert (fewest_named(num_parts) or 99) == {19: 2, 20: 1, 6: 3}[num_parts]


def test_a_verdict_holds_by_luck_in_at_most_one_of_twenty_one_cases() -> None:
    changes = np.random.default_rng(5).normal(size=(4_000, 1 + RANDOM_CHOICES))
    verdicts = [verdict_on([compared("remove", 1, row.tolist())]) for row in changes + 9]
    assert verdicts.count(HOLDS) / len(verdicts) < 0.06
    assert verdict_on([compared("remove", 1, [1.0, *[0.0] * 20])]) == HOLDS
    tie = compared("remove", 1, [1.0, *[0.0] * 19, 1.0 - 1e-6])  # changes that rounding alone tells apart
    assert (tie.p_value, verdict_on([tie])) == (pytest.approx(2 / 21), CHANCE)
    assert [can_tell(19), can_tell(18), can_tell(20, 2), can_tell(39, 2)] == [True, False, False, True]


def test_more_claims_need_more_choices_each() -> None:
    effects = [5.0, *[0.0] * 99]
    outcome = try_parts({"remove": sums(effects)}, 100, [0], noun="words", num_claims=3)
    assert outcome.tests[0].num_random == 3 * RANDOM_CHOICES
    assert outcome.verdict == HOLDS
    assert try_parts({"remove": sums(effects)}, 30, [0], noun="words", num_claims=3).verdict == NOT_TESTED


@pytest.mark.parametrize("num_parts", [7, 40])
def test_random_choices_differ_from_each_other_and_from_the_claim(num_parts: int) -> None:
    choices = random_choices(num_parts, (1, 3), 20, seed=1)
    assert len({*choices, (1, 3)}) == 21
    assert all(0 <= one < other < num_parts for one, other in choices)
    assert choices == random_choices(num_parts, (1, 3), 20, seed=1) != random_choices(num_parts, (1, 3), 20, seed=2)


def test_random_scores_hold_in_no_more_than_five_of_a_hundred(question: Callable[..., Question]) -> None:
    asked = question()
    units = asked.units()[:12]
    pairs = list(combinations(range(12), 2))
    draw = torch.Generator().manual_seed(2)
    prompts = {
        "remove": [asked.without(units[n] for n in pair) for pair in pairs],
        "replace": [asked.replaced([units[n] for n in pair], draw) for pair in pairs],
    }
    falls = {
        how: dict(zip(pairs, (asked.difference - asked.differences(some)).tolist(), strict=True))
        for how, some in prompts.items()
    }
    measures = {how: lambda choices, table=table: [table[choice] for choice in choices] for how, table in falls.items()}
    generator = np.random.default_rng(5)
    held = 0
    for trial in range(200):
        scores = generator.random(12)
        named = np.argsort(-scores)[:2].tolist()
        held += try_parts(measures, 12, named, noun="words", seed=trial).verdict == HOLDS
    assert 0 < held <= 0.05 * 200


def test_units_are_taken_away_and_replaced_in_the_model_itself(question: Callable[..., Question]) -> None:
    asked = question()
    units = asked.units()
    outcome = try_units(asked, units, [3], noun="words")
    removed, replaced = outcome.tests
    assert (removed.how, replaced.how) == ("remove", "replace")
    after = float(asked.differences([asked.without([units[3]])])[0])
    assert removed.change == pytest.approx(asked.difference - after)
    assert math.isfinite(replaced.change)
    assert replaced.change != pytest.approx(removed.change, abs=1e-6)
