"""The guard on what a tuned model forgets: measured for every base, said in words, and a limit on the best weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptsmith.model.gpt import GPT
from gptsmith.train.datasets.base import KeptAnswers, KnownAnswers, KnownText
from gptsmith.train.report import forgetting_in_a_line
from tests.train.fakes import World


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [(1.77, 3.36, "much was"), (1.0, 1.15, "some was"), (1.0, 1.05, "little was"), (1.0, 0.9, "nothing was")],
)
def test_forgetting_is_said_in_words(before: float, after: float, words: str) -> None:
    figures = {
        "general_text": "general text",
        "general_bits_per_byte_before": before,
        "general_bits_per_byte": after,
    }
    expected = f"general text: {before:.2f} -> {after:.2f} bits per byte: {words} forgotten"
    assert forgetting_in_a_line(figures) == expected


def test_a_model_that_is_ruined_has_forgotten_much() -> None:
    figures = {"general_bits_per_byte_before": 1.0, "general_bits_per_byte": float("nan")}
    assert forgetting_in_a_line(figures).endswith("much was forgotten")


def test_forgetting_that_was_not_measured_is_not_spoken_of() -> None:
    assert forgetting_in_a_line({"general_bits_per_byte": None}) == ""


@pytest.mark.parametrize(
    ("kept", "words"), [(24, "nothing was"), (22, "little was"), (20, "some was"), (7, "much was")]
)
def test_answers_that_are_lost_are_said_in_words(kept: int, words: str) -> None:
    figures = {"general_prompts": "questions", "num_general_answers": 24, "num_general_answers_kept": kept}
    style = "" if kept == 24 else ", or is said in another way"
    expected = f"{kept} of 24 questions are still answered as before: {words} forgotten{style}"
    assert forgetting_in_a_line(figures) == expected


@pytest.mark.parametrize(
    ("after", "kept", "words"), [(0.96, 3, "much was"), (2.0, 24, "much was"), (1.0, 24, "nothing")]
)
def test_the_worse_measure_decides_the_words(after: float, kept: int, words: str) -> None:
    figures = {
        "general_text": "the base's own text",
        "general_bits_per_byte_before": 1.0,
        "general_bits_per_byte": after,
        "general_prompts": "beginnings",
        "num_general_answers": 24,
        "num_general_answers_kept": kept,
    }
    line = forgetting_in_a_line(figures)
    assert line.startswith(
        f"the base's own text: 1.00 -> {after:.2f} bits per byte, {kept} of 24 beginnings are still con"
    )
    assert words in line
    assert line.endswith("or is said in another way") == (kept == 3)


@pytest.mark.parametrize(("limit", "best_step"), [(None, 3), (0.5, 2), (0.9, 1), (1.0, None)])
def test_the_best_weights_keep_so_many_answers(tmp_path: Path, limit: float | None, best_step: int | None) -> None:
    kept = iter([0.95, 0.6, 0.2])

    def answers(_: GPT) -> KeptAnswers:
        return KeptAnswers(20, round(20 * next(kept)), 1.0)

    world = World(tmp_path, losses=[3.0, 2.0, 1.0], known_answers=KnownAnswers("questions", answers))
    world.run(num_steps=3, evaluate_every_steps=1, min_kept_answers=limit)
    assert world.state.best_step == best_step


@pytest.mark.parametrize(("limit", "best_step"), [(None, 3), (0.5, 2), (0.1, 1)])
def test_the_best_weights_keep_to_the_limit_of_forgetting(tmp_path: Path, limit: float | None, best_step: int) -> None:
    known = iter([1.05, 1.4, 1.9])

    def bits_per_byte(_: GPT) -> float:
        return next(known)

    world = World(tmp_path, losses=[3.0, 2.0, 1.0], known_text=KnownText("general text", bits_per_byte, before=1.0))
    world.run(num_steps=3, evaluate_every_steps=1, max_forgetting=limit)
    assert world.state.best_step == best_step
