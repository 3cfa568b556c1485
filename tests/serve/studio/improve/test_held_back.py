"""Prompts that are held back: nothing that is learnt is nearly one of them, and they stay held back."""

from __future__ import annotations

from typing import Any

from gptsmith.serve.studio.improve.held_back import digest, split

from .conftest import PROMPTS, thumb


def _marks(prompts: list[str]) -> list[dict[str, Any]]:
    return [thumb(number, prompt, "Yes.", "up") for number, prompt in enumerate(prompts)]


def test_a_fifth_of_the_prompts_is_held_back_with_all_of_its_marks() -> None:
    marks = _marks([prompt for prompt in PROMPTS[:50] for _ in range(2)])
    learnt, held = split(marks)
    assert len(held) == 10
    assert len(learnt) == 80
    assert not {digest(prompt) for prompt in held} & {digest(mark["prompt"]) for mark in learnt}


def test_nearly_equal_prompts_are_on_one_side() -> None:
    long = "the old bridge over the weir in the valley behind the hill where the carts go to the market of the town"
    marks = _marks(
        [*PROMPTS[:30], *(f"Please tell me about {long} {end}." for end in ("now", "again", "soon", "today"))]
    )
    learnt, held = split(marks)
    about_it = [mark for mark in learnt if long in mark["prompt"][0]["content"]]
    assert len(about_it) in (0, 4)
    assert sum(long in prompt[0]["content"] for prompt in held) == (0 if about_it else 1)


def test_turns_of_one_conversation_are_on_one_side() -> None:
    marks = _marks([prompt for prompt in PROMPTS[:40] for _ in range(2)])
    for mark in marks[1::2]:
        mark["prompt"] += [{"role": "assistant", "content": "Which?"}, {"role": "user", "content": "The long one."}]
    learnt, held = split(marks)
    assert len(held) == 8
    asked = {mark["prompt"][0]["content"] for mark in learnt}
    assert not asked & {prompt[0]["content"] for prompt in held}


def test_what_is_held_back_stays_so_when_marks_are_added() -> None:
    _, first = split(_marks(PROMPTS[:40]))
    learnt, held = split(_marks(PROMPTS[:80]))
    again = {digest(prompt) for prompt in held}
    assert sum(digest(prompt) in again for prompt in first) >= len(first) // 2
    assert [digest(prompt) for prompt in split(_marks(PROMPTS[:40]))[1]] == [digest(prompt) for prompt in first]
    assert len(learnt) + len(held) == 80


def test_spaces_and_case_make_no_other_prompt() -> None:
    one, other = ([{"role": "user", "content": text}] for text in ("A nail,  please.", "a nail, PLEASE.\n"))
    assert digest(one) == digest(other)


def test_few_prompts_and_none() -> None:
    assert split([]) == ([], [])
    marks = _marks(["Only this one?"] * 30)
    assert split(marks) == (marks, [])
