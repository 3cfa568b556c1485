"""The test beside a claim: the parts that it names, changed in the model that answered, against as many at random.

If the parts were named at random, each of the choices compared would be as likely as any other to do best: so a claim
that is worth nothing holds in at most 5 of 100 questions, whatever the model, the prompt and the method. The parts that
are taken away and those that are replaced must both pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import torch

from gptsmith.explain.claim import CHANCE, HOLDS, NOT_TESTED, Test, Verdict
from gptsmith.explain.question import Question
from gptsmith.explain.units import Unit

ERROR_RATE = 0.05
"""The chance that a claim which names parts at random holds."""
RANDOM_CHOICES = 20
"""The number of random choices for one claim: the fewest that can show so small a chance."""
TIED = 1e-4
"""Nats: changes that are closer are the same."""

Choice = tuple[int, ...]
"""Some parts, by their numbers in ascending order."""
Measure = Callable[[Sequence[Choice]], Sequence[float]]
"""How far the difference falls for each of some choices of parts, in nats."""


@dataclass(frozen=True)
class Outcome:
    """The verdict on a claim, with its tests.

    Attributes:
        why: the verdict in a sentence for people.
    """

    verdict: Verdict
    why: str
    tests: list[Test] = field(default_factory=list)

    @property
    def hardest(self) -> Test | None:
        """The test that the claim did worst in."""
        return max(self.tests, key=lambda test: (test.p_value, test.random_mean - test.change), default=None)


def fewest_named(num_parts: int, num_claims: int = 1) -> int | None:
    """The fewest of some parts that a claim must name so that it can be told from chance; None if none are enough."""
    needed = math.ceil(num_claims / ERROR_RATE)
    return next((number for number in range(1, num_parts // 2 + 1) if math.comb(num_parts, number) >= needed), None)


def try_parts(
    measures: Mapping[str, Measure],
    num_parts: int,
    named: Sequence[int],
    *,
    noun: str,
    num_claims: int = 1,
    seed: int = 0,
) -> Outcome:
    """Tests a claim that names some of `num_parts` parts.

    Args:
        measures: how parts are changed (`remove`, `replace`, ...), with the changes that this makes.
        named: the numbers of the parts.
        noun: the parts in words, such as `words`.
        num_claims: how many claims share the chance of an error.
        seed: of the random choices.
    """
    chosen = tuple(sorted(named))
    if not chosen:
        return Outcome(NOT_TESTED, f"Not tested: none of the {noun} is named.")
    others = math.comb(num_parts, len(chosen)) - 1
    num_random = min(RANDOM_CHOICES * num_claims, others)
    if not can_tell(num_random, num_claims):
        return Outcome(
            NOT_TESTED,
            f"Not tested: with {num_parts} {noun} to choose from, {len(chosen)} could be found by luck "
            f"{_percent(1 / (1 + others))} of the time. A longer text can be tested.",
        )
    choices = [chosen, *random_choices(num_parts, chosen, num_random, seed)]
    tests = [compared(how, len(chosen), measure(choices)) for how, measure in measures.items()]
    verdict = verdict_on(tests, num_claims)
    return Outcome(verdict, _why(verdict, tests, noun), tests)


def try_units(question: Question, units: Sequence[Unit], named: Sequence[int], *, noun: str) -> Outcome:
    """Tests a claim that names some parts of a prompt, by taking them away and by putting other text in their place."""
    generator = torch.Generator().manual_seed(question.seed)

    def remove(choices: Sequence[Choice]) -> Sequence[float]:
        prompts = [question.without(units[number] for number in choice) for choice in choices]
        return _falls(question, prompts)

    def replace(choices: Sequence[Choice]) -> Sequence[float]:
        prompts = [question.replaced([units[number] for number in choice], generator) for choice in choices]
        return _falls(question, prompts)

    measures = {"remove": remove, "replace": replace}
    return try_parts(measures, len(units), named, noun=noun, num_claims=question.num_claims, seed=question.seed)


def random_choices(num_parts: int, named: Choice, num_choices: int, seed: int) -> list[Choice]:
    """So many different choices of as many parts as are named, none of them those."""
    generator = np.random.default_rng(seed)
    if math.comb(num_parts, len(named)) <= 4 * num_choices:
        every = [choice for choice in combinations(range(num_parts), len(named)) if choice != named]
        return [every[number] for number in generator.permutation(len(every))[:num_choices]]
    found: dict[Choice, None] = {}
    while len(found) < num_choices:
        choice = tuple(sorted(generator.choice(num_parts, len(named), replace=False).tolist()))
        if choice != named:
            found[choice] = None
    return list(found)


def _falls(question: Question, prompts: Sequence[Sequence[int]]) -> list[float]:
    """How far the difference falls for each of some changed prompts."""
    return [question.difference - after for after in question.differences(prompts).tolist()]


def can_tell(num_random: int, num_claims: int = 1) -> bool:
    """Whether so many random choices are enough to tell a claim from chance."""
    return 1 / (1 + num_random) <= ERROR_RATE / num_claims


def compared(how: str, num_removed: int, changes: Sequence[float]) -> Test:
    """The test of the first of some changes against the others."""
    change, chance = changes[0], np.asarray(changes[1:])
    as_good = int((chance >= change - TIED).sum())
    low, high = np.quantile(chance, [0.025, 0.975]).tolist()
    return Test(
        how, num_removed, change, float(chance.mean()), (low, high), len(chance), (1 + as_good) / (1 + len(chance))
    )


def verdict_on(tests: Sequence[Test], num_claims: int = 1) -> Verdict:
    """`holds` if what is named changed more in every test than all but so few of the random choices that this happens
    by luck in at most 5 of 100 questions."""
    limit = ERROR_RATE / num_claims
    return HOLDS if all(test.p_value <= limit and test.change > TIED for test in tests) else CHANCE


HOW = {"remove": "taken away", "replace": "replaced by other text"}
"""What is done to parts, in words."""


def _why(verdict: Verdict, tests: Sequence[Test], noun: str) -> str:
    """The verdict for people."""
    number, num_random = tests[0].num_removed, tests[0].num_random
    done = " and ".join(HOW.get(test.how, test.how) for test in tests)
    if verdict == HOLDS:
        return (
            f"Tested: {done}, they changed the answer more than each of {num_random} random choices of {number} {noun}."
        )
    as_good = [f"{round(test.p_value * (1 + num_random)) - 1} of them {HOW.get(test.how, test.how)}" for test in tests]
    return (
        f"Tested, and no better than chance: of {num_random} random choices of {number} {noun}, "
        f"{' and '.join(as_good)} changed the answer as much. Do not rely on it."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "less than 1 %"
