"""Texts that are written do not stand still for a prompt, and it is not starved. No clock: a machine is made up."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from gptsmith.generate.prefill_budget import PrefillBudget
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.presets import preset

PAUSE_STEPS, PROMPT, PIECE = EngineSettings().max_prefill_slowdown, 900, 512
Machine = Callable[[int, int, int], float]
"""Seconds of a step that writes so many texts and reads so many tokens of a prompt from a place on."""


def reading_s(num_tokens: int, start: int) -> float:
    return num_tokens * 0.0026 * (1 + (start + num_tokens / 2) * 0.00035)


def waits_for_memory(num_writing: int, num_tokens: int, start: int) -> float:
    """However many texts, a step reads the weights once, and that takes longer than its products up to some rows."""
    return 0.008 + max(0.040, 0.004 * num_writing + reading_s(num_tokens, start))


def waits_for_products(num_writing: int, num_tokens: int, start: int) -> float:
    """The weights are a quarter of the bytes: nearly every row costs."""
    return 0.008 + max(0.008, 0.0032 * num_writing + reading_s(num_tokens, start))


MACHINES = [waits_for_memory, waits_for_products]


def usual_steps(budget: PrefillBudget, machine: Machine, num_writing: int, count: int = 20) -> None:
    for _ in range(count):
        budget.observe(machine(num_writing, 0, 0), num_writing, 0)


def read_beside(
    budget: PrefillBudget, machine: Machine, num_writing: int, jitter: random.Random | None = None
) -> list[float]:
    """The seconds of the steps in which a prompt is read."""
    steps: list[float] = []
    start = 0
    while start < PROMPT:
        count = int(min(max(budget.num_tokens(start, budget.allowance(num_writing)), 1), PROMPT - start, PIECE))
        seconds = machine(num_writing, count, start) * (1 if jitter is None else jitter.uniform(0.97, 1.03))
        budget.observe(seconds, num_writing, budget.cost(start, count))
        steps.append(seconds)
        start += count
    return steps


def new_budget() -> PrefillBudget:
    return PrefillBudget(preset("gpt2"), PAUSE_STEPS)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("num_writing", [1, 4, 16])
def test_no_step_is_longer_than_three_usual_ones(machine: Machine, num_writing: int) -> None:
    budget = new_budget()
    budget.observe(machine(0, 16, 0), 0, budget.cost(0, 16))  # the prompts of those that are written
    usual_steps(budget, machine, num_writing)
    for jitter in (None, random.Random(0)):
        steps = read_beside(budget, machine, num_writing, jitter)
        assert max(steps) < 3 * machine(num_writing, 0, 0)


@pytest.mark.parametrize(("machine", "num_writing", "most"), [
    (waits_for_memory, 1, 1.2), (waits_for_memory, 4, 1.3), (waits_for_products, 1, 1.5), (waits_for_products, 4, 1.8),
])  # fmt: skip
def test_a_prompt_takes_little_longer_than_alone(machine: Machine, num_writing: int, most: float) -> None:
    budget = new_budget()
    alone_s = sum(read_beside(budget, machine, 0))
    usual_steps(budget, machine, num_writing)
    assert sum(read_beside(budget, machine, num_writing)) < most * alone_s


def test_nothing_is_read_until_a_usual_step_is_known_and_then_pieces_grow_at_once() -> None:
    budget = new_budget()
    assert budget.allowance(4) == 0
    usual_steps(budget, waits_for_products, 4)
    steps = read_beside(budget, waits_for_products, 4)
    usual_s = waits_for_products(4, 0, 0)
    assert max(steps) < 3 * usual_s
    assert min(steps[1:-1]) > 0.8 * PAUSE_STEPS * usual_s


def test_a_token_counts_for_more_the_more_it_looks_at() -> None:
    budget = new_budget()
    assert budget.cost(900, 10) > 1.25 * budget.cost(0, 10) > 12
    for start in (0, 300, 900):
        assert budget.cost(start, 1) * 0.999 < budget.cost(start, int(budget.num_tokens(start, 50.0))) <= 50
    assert budget.num_tokens(0, -3.0) == 0


def test_what_a_prompt_adds_is_learnt_again_when_the_machine_becomes_slower() -> None:
    budget = new_budget()
    usual_steps(budget, waits_for_products, 4)
    read_beside(budget, waits_for_products, 4)

    def slower(num_writing: int, num_tokens: int, start: int) -> float:
        return waits_for_products(num_writing, 0, 0) + 2 * reading_s(num_tokens, start)

    steps = read_beside(budget, slower, 4)
    assert max(steps[3:]) < 3 * waits_for_products(4, 0, 0)


def test_another_number_of_texts_is_taken_to_be_like_the_nearest_and_no_slower() -> None:
    budget = new_budget()
    usual_steps(budget, waits_for_products, 16)
    read_beside(budget, waits_for_products, 16)
    assert max(read_beside(budget, waits_for_products, 2)) < 3 * waits_for_products(2, 0, 0)
    usual_steps(budget, waits_for_products, 4)
    assert max(read_beside(budget, waits_for_products, 5)) < 3 * waits_for_products(5, 0, 0)
