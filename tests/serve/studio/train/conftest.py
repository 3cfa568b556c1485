"""A studio for trainings: texts and chats in its folder, and nothing of the tester's own machine."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..conftest import Opened, opened

WORDS = (
    "the",
    "old",
    "smith",
    "went",
    "to",
    "his",
    "forge",
    "and",
    "made",
    "a",
    "gate",
    "of",
    "iron",
    "for",
    "the",
    "king",
)


def running_text(num_bytes: int) -> str:
    """Lines of words."""
    chance = random.Random(0)
    lines, size = [], 0
    while size < num_bytes:
        lines.append(" ".join(chance.choices(WORDS, k=12)) + ".\n")
        size += len(lines[-1])
    return "".join(lines)[:num_bytes]


def chats(count: int) -> str:
    """Conversations of one question."""
    turns = [(f"What costs gate {number}?", f"The smith asks {number} coins for it.") for number in range(count)]
    records = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in turns
    ]
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A studio's folder with texts."""
    made = tmp_path_factory.mktemp("training")
    for name, text in {
        "tiny.txt": running_text(1000),
        "text.txt": running_text(60_000),
        "chats.jsonl": chats(60),
    }.items():
        (made / name).write_text(text, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def studio(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """A studio of it, on a machine without other programs' models."""
    with ExitStack() as held:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_HUB_CACHE", str(folder / "none"))
            patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
            found = held.enter_context(opened(folder))
        yield found
