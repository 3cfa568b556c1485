"""Thoughts of a model before its answer: their form, and how a chat template gets them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

THOUGHTS_OPEN, THOUGHTS_CLOSE = "<think>", "</think>"
"""The form in which Qwen's, DeepSeek's and most other models write thoughts."""
CHANNEL = "<|channel|>"
"""The token that begins the name of a channel (see `gptsmith.text.channels`)."""
REASONING = ("reasoning_content", "thinking", "reasoning")
"""The names of an answer's thoughts: Transformers fills in the others of the first two, which templates read."""
READS_FIELD = re.compile(r"reasoning_content|(?:\.|\[['\"]|get\(['\"])(?:thinking|reasoning)\b")
"""Matches where a template reads the thoughts of a turn."""
CLOSED = re.compile(rf"\s*{re.escape(THOUGHTS_CLOSE)}|<\|end\|>")
"""Matches what a template writes behind thoughts: a tag, or the end of a message of their own (gpt-oss)."""


def render_thoughts(thoughts: str) -> str:
    """Thoughts as a model generates them before its answer."""
    return f"{THOUGHTS_OPEN}\n{thoughts}\n{THOUGHTS_CLOSE}\n\n"


def opens_thoughts(text: str) -> bool:
    """Whether a text ends in thoughts that are not closed."""
    return text.rfind(THOUGHTS_OPEN) > text.rfind(THOUGHTS_CLOSE)


def with_thoughts_marked(pieces: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """The pieces of an answer as they come, and whether each is of thoughts, their tags included; a piece in which
    thoughts end is two."""
    written = ""
    for piece in pieces:
        is_thought = opens_thoughts(written) or THOUGHTS_OPEN in piece
        written += piece
        thoughts, closing, rest = piece.partition(THOUGHTS_CLOSE)
        if is_thought and closing and not opens_thoughts(written):
            yield thoughts + closing, True
            yield rest, False
        else:
            yield piece, is_thought or opens_thoughts(written)


def divided_thoughts(text: str) -> tuple[str | None, str]:
    """The thoughts at the beginning of an answer, None if there are none, and the answer behind them."""
    begun = text.lstrip()
    if not begun.startswith(THOUGHTS_OPEN) or THOUGHTS_CLOSE not in begun:
        return None, text
    thoughts, _, answer = begun.removeprefix(THOUGHTS_OPEN).partition(THOUGHTS_CLOSE)
    return thoughts.strip(), answer.lstrip()


def thoughts_of(message: Mapping[str, Any]) -> str | None:
    """The thoughts of a turn; None if it has none."""
    return next((message[name] for name in REASONING if message.get(name) is not None), None)


def with_thoughts(messages: Sequence[Mapping[str, Any]], source: str) -> list[Mapping[str, Any]]:
    """A conversation with its thoughts where a template finds them: in their fields if it reads those, in the text of
    the answer if it looks for them there. A template of channels finds those that stand in the text, as a model
    generated them, in their fields. For a template that knows no thoughts, those of the turns after the last question
    are in the text, and earlier ones are left out, as most templates do it."""
    if READS_FIELD.search(source):
        return list(map(_with_all_names, map(_for_channels, messages) if CHANNEL in source else messages))
    last = max((number for number, message in enumerate(messages) if message["role"] == "user"), default=-1)
    finds = THOUGHTS_CLOSE in source
    return [_with_text(message, is_shown=finds or number > last) for number, message in enumerate(messages)]


def _for_channels(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the thoughts at the beginning of an answer apart; beside calls all of it is thoughts, as gpt-oss's template
    has it."""
    if message["role"] != "assistant":
        return message
    thoughts, content = thoughts_of(message), message["content"]
    if thoughts is None:
        thoughts, content = divided_thoughts(content)
    if thoughts and message.get("tool_calls"):
        thoughts, content = "\n\n".join(filter(None, [thoughts, content])), ""
    return {**message, "content": content, **({} if thoughts is None else {"reasoning_content": thoughts})}


def _with_all_names(message: Mapping[str, Any]) -> Mapping[str, Any]:
    thoughts = thoughts_of(message)
    return message if thoughts is None else {"thinking": thoughts, **message, "reasoning_content": thoughts}


def _with_text(message: Mapping[str, Any], *, is_shown: bool) -> Mapping[str, Any]:
    thoughts = thoughts_of(message)
    if thoughts is None:
        return message
    kept = {name: value for name, value in message.items() if name not in REASONING}
    shown = render_thoughts(thoughts) if is_shown and thoughts else ""
    return {**kept, "content": f"{shown}{message['content']}"}


def end_of_thoughts(written: str, thoughts: str) -> int | None:
    """Where some thoughts, and the tag behind them, end in a turn that a template wrote; None if they are not in it."""
    start = written.find(thoughts.strip())
    if start < 0:
        return None
    end = start + len(thoughts.strip())
    closed = CLOSED.match(written, end)
    return end if closed is None else closed.end()
