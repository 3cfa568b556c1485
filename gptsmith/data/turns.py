"""Fields of records to the turns of a conversation, as OpenAI and as ShareGPT write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptsmith.base.errors import DataError
from gptsmith.data.records import brief, without_lone_surrogates
from gptsmith.text.chat_template import checked_messages

SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "bing": "assistant", "chatgpt": "assistant"}


def text_of(value: Any, name: str) -> str:
    """A field's value as text.

    Raises:
        DataError: it is neither text nor a number.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"the {name} is {brief(value)}, not a text")
    return without_lone_surrogates(str(value))


def turn(value: Mapping[str, Any]) -> dict[str, str]:
    """A turn: its role and its content."""
    role = value.get("role", value.get("from"))
    content = value.get("content", value.get("value"))
    if isinstance(content, list):
        content = "".join(part["text"] for part in content)
    return {"role": SHAREGPT_ROLES.get(role, role), "content": text_of(content, f"{role}'s turn")}


def prompt_turns(prompt: Any) -> list[dict[str, str]]:
    """The turns of a prompt: a list of them, or the text of a single question."""
    if isinstance(prompt, list):
        return [turn(each) for each in prompt]
    return [{"role": "user", "content": text_of(prompt, "question")}]


def prompt_messages(prompt: Any) -> tuple[dict[str, str], ...]:
    """The turns of a prompt, checked.

    Raises:
        DataError: they make no conversation.
    """
    return tuple(checked_messages(prompt_turns(prompt)))


def completion_of(value: Any, name: str) -> str:
    """The text of a completion: a text, or the last of a list of turns."""
    return turn(value[-1])["content"] if isinstance(value, list) and value else text_of(value, name)
