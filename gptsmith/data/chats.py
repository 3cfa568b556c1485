"""Chats that programs exported as records, and chats of people as conversations with a model."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from gptsmith.base.errors import DataError, did_you_mean
from gptsmith.base.notices import Notice
from gptsmith.data.exports import CHAT, ChatExport, chat_records
from gptsmith.data.readers import Record

NAMES_SHOWN = 8


def export_records(path: Path, export: ChatExport, value: Any, start: int, end: int) -> Iterator[Record]:
    """The conversations of an exported file as records, each read from all its bytes.

    Raises:
        DataError: the file is damaged.
    """
    numbers = count(1)
    try:
        for fields in chat_records(export, value):
            yield Record(fields, f"conversation {next(numbers)}", start, end)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{path} is an export of {export.kind} and damaged, or of a version that is not known "
            f"({type(error).__name__} after conversation {next(numbers) - 1}): export it again"
        ) from None


def with_roles(path: Path, records: Iterable[Record], me: str | None, names: Counter[str]) -> Iterator[Record]:
    """The records of a file, its chats of people as conversations in which `me` is the assistant. Turns of `me` before
    the first of somebody else, and those of others after the last of `me`, are left out, and so are chats without `me`.
    Where several others write, their turns begin with their names.

    Args:
        names: counts the messages of each person.

    Raises:
        DataError: `me` is not given, and there are chats of people.
    """
    chats = []
    for record in records:
        if isinstance(record.fields.get(CHAT), list) and record.fields.keys() == {CHAT}:
            chats.append(record)
        else:
            yield record
    of_file = Counter(turn["name"] for chat in chats for turn in chat.fields[CHAT])
    names.update(of_file)
    if chats and me is None:
        example = of_file.most_common(1)[0][0]
        raise DataError(
            Notice(
                f"{path} is a chat of {shown_names(of_file)}: name the one whom the model is to answer as, for example "
                f"{shlex.join(['--me', example])}; for the texts alone, add --objective next_token",
                "chat_of_people",
                file=str(path),
                names=shown_names(of_file),
                example=example,
            )
        )
    for chat in chats:
        messages = _messages(chat.fields[CHAT], str(me), has_several_others=len(of_file) > 2)
        if messages:
            yield replace(chat, fields={"messages": messages})


def require_messages_of(me: str, names: Counter[str]) -> None:
    """Checks that somebody of that name wrote.

    Raises:
        DataError: nobody did; the message says who else.
    """
    if names and not any(is_me(name, me) for name in names):
        raise DataError(f"no messages of {me} in the chats ({did_you_mean(me, names)})")


def is_me(name: str, me: str) -> bool:
    """Whether a name is the given one, in upper or lower case."""
    return name.strip().casefold() == me.strip().casefold()


def shown_names(names: Counter[str]) -> str:
    """`Ann (12 turns), Bo (3)`."""
    most = names.most_common(NAMES_SHOWN)
    return ", ".join(
        f"{name} ({count:,}{' turns' if not place else ''})" for place, (name, count) in enumerate(most)
    ) + (f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else "")


def _messages(turns: Sequence[Mapping[str, Any]], me: str, has_several_others: bool) -> list[dict[str, str]]:
    messages: list[dict[str, str]] = []
    for turn in turns:
        role = "assistant" if is_me(turn["name"], me) else "user"
        content = f"{turn['name']}: {turn['content']}" if has_several_others and role == "user" else turn["content"]
        if not messages and role == "assistant":
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += f"\n{content}"
        else:
            messages.append({"role": role, "content": content})
    if messages and messages[-1]["role"] == "user":
        messages.pop()
    return messages
