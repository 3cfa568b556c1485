"""Prompts that are too long for the context: the oldest messages, or the beginning of a text, are omitted."""

from __future__ import annotations

import pytest

from gptsmith.text.context import FittedPrompt, fit_messages, fit_text, max_prompt_tokens

SYSTEM = {"role": "system", "content": "s"}
LAST = {"role": "user", "content": "l"}


def exchanges(count: int) -> list[dict[str, str]]:
    return [{"role": role, "content": str(number)} for number in range(count) for role in ("user", "assistant")]


def of_role(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": "a"} for role in roles]


def encode(messages: list[dict[str, str]]) -> list[int]:
    """One token for each message, by which it can be known."""
    return [hash((message["role"], message["content"])) for message in messages]


@pytest.mark.parametrize("num_kept", range(8))
@pytest.mark.parametrize("beginning", [[], [SYSTEM]], ids=["plain", "system"])
def test_as_many_of_the_last_messages_are_kept_as_fit(num_kept: int, beginning: list[dict[str, str]]) -> None:
    talk = exchanges(7)
    kept = [*beginning, *talk[14 - 2 * num_kept :], LAST]
    for limit in (len(kept), len(kept) + 1):
        fitted = fit_messages([*beginning, *talk, LAST], encode, limit)
        assert fitted == FittedPrompt(encode(kept), 14 - 2 * num_kept)


def test_a_few_tries_are_enough() -> None:
    tries: list[int] = []

    def counted(messages: list[dict[str, str]]) -> list[int]:
        tries.append(len(messages))
        return encode(messages)

    assert fit_messages([*exchanges(1000), LAST], counted, 900).num_omitted == 1102
    assert len(tries) < 13
    tries.clear()
    fit_messages([*exchanges(1000), LAST], counted, 3000)
    assert len(tries) == 1


def test_messages_after_a_call_are_never_kept_without_it() -> None:
    talk = of_role("user", "assistant", "tool", "assistant", "user")
    assert fit_messages(talk, encode, 3) == FittedPrompt(encode(talk[4:]), 4)
    assert fit_messages(talk[:4], encode, 0) == FittedPrompt(encode(talk[:4]), 0)


def test_the_last_message_is_kept_even_if_it_does_not_fit() -> None:
    talk = of_role("system", "user", "assistant", "user", "assistant", "tool")
    assert fit_messages(talk, encode, 0) == FittedPrompt(encode([talk[0], *talk[3:]]), 2)
    assert fit_messages(talk[:2], encode, 0) == FittedPrompt(encode(talk[:2]), 0)


def test_the_end_of_a_text_is_kept() -> None:
    assert fit_text([1, 2, 3], 2) == FittedPrompt([2, 3], 1)
    assert fit_text([1, 2], 2) == FittedPrompt([1, 2], 0)


def test_a_prompt_leaves_room_for_the_answer_but_has_at_least_half_of_the_context() -> None:
    assert [max_prompt_tokens(100, most) for most in (0, 20, 50, 90, 100)] == [100, 80, 50, 50, 50]
    assert max_prompt_tokens(1, 1) == 1
