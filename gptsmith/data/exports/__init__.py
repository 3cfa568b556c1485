"""Exports of chat programs to conversations: each file reads the format of one program.

Contract: `matches(value)` says whether a file is such an export, by its JSON value or, for an export as text, by its
text; `conversations(value)` are its conversations, in order. Messages have a role where the program says which are a
model's; otherwise they have the name of who wrote them.
"""

from __future__ import annotations

import datetime
import functools
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings

PAUSE_S = 3 * 3600.0
"""After a pause as long, people begin a new conversation."""
CHAT = "chat"
"""The field of a record with the turns of people: `{"name": ..., "content": ...}` each."""


@dataclass(frozen=True)
class ChatMessage:
    """A message of a conversation."""

    text: str
    name: str = ""
    """Who wrote it."""
    role: str | None = None
    """`system`, `user` or `assistant`; None if people write to each other."""
    time_s: float | None = None
    """When it was written, in seconds from any moment; None if that is not known."""


class ChatExport(Settings):
    """The format in which a program exports chats."""

    kind: str

    @abstractmethod
    def matches(self, value: Any) -> bool:
        """Whether a file's JSON value, or its text, is in this format."""

    @abstractmethod
    def conversations(self, value: Any) -> Iterator[Sequence[ChatMessage]]:
        """The conversations of a file, each with its messages in order.

        Raises:
            KeyError, TypeError, AttributeError, ValueError: the file is damaged.
        """


KINDS = Kinds(__name__, ChatExport)


def export_of(value: Any) -> ChatExport | None:
    """The format of an export, by a file's JSON value or its text; None if it is none."""
    return next((export for export in _exports(tuple(KINDS.names())) if export.matches(value)), None)


@functools.cache
def _exports(names: tuple[str, ...]) -> list[ChatExport]:
    return [KINDS.validate(name) for name in names]


def chat_records(export: ChatExport, value: Any) -> Iterator[dict[str, Any]]:
    """The conversations of an export as records: `{"messages": [...]}` with roles, or `{"chat": [...]}` with names. A
    long pause begins a new conversation; messages of the same person after one another are one turn."""
    for conversation in export.conversations(value):
        for messages in _between_pauses(message for message in conversation if message.text.strip()):
            turns = _turns(messages)
            if messages[0].role is not None:
                yield {"messages": [{"role": turn.role, "content": turn.text} for turn in turns]}
            else:
                yield {CHAT: [{"name": turn.name, "content": turn.text} for turn in turns]}


def _between_pauses(messages: Iterable[ChatMessage]) -> Iterator[list[ChatMessage]]:
    found: list[ChatMessage] = []
    for message in messages:
        if found and message.role is None and None not in (message.time_s, found[-1].time_s):
            pause_s = (message.time_s or 0) - (found[-1].time_s or 0)
            if pause_s >= PAUSE_S:
                yield found
                found = []
        found.append(message)
    if found:
        yield found


def _turns(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The messages, those of the same person after one another as one."""
    turns: list[ChatMessage] = []
    for message in messages:
        text = message.text.strip()
        if turns and (turns[-1].name, turns[-1].role) == (message.name, message.role):
            between = "\n" if message.role is None else "\n\n"
            turns[-1] = ChatMessage(f"{turns[-1].text}{between}{text}", message.name, message.role)
        else:
            turns.append(ChatMessage(text, message.name, message.role))
    return turns


def seconds(time: Any) -> float | None:
    """A time in seconds, from a number, a text of one, or a date as ISO 8601 writes it; None if it is none."""
    try:
        return float(time)
    except (TypeError, ValueError):
        pass
    try:
        moment = datetime.datetime.fromisoformat(str(time))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def are_objects_with(value: Any, *names: str) -> bool:
    """Whether a value is a list of objects that have these fields, judged by the first few."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and all(name in item for name in names) for item in value[:20])
    )
