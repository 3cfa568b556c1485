"""A studio for trainings: texts and chats in its folder, and nothing of the tester's own machine."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gptsmith.base.json_text import json_text
from gptsmith.serve.studio.jobs import queue

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

FIGURES = {
    "seconds": 555.0, "num_parameters": 872064, "num_tokens": 614400, "epochs": 3.3, "tokens_per_second": 23000.0,
    "peak_memory_bytes": 928_000_000, "bits_per_byte": 2.11, "bits_per_byte_low": 2.02, "bits_per_byte_high": 2.19,
    "embed_dim": 128, "vocab_size": 512,
}  # fmt: skip
PROBLEM = {"problem": {"code": "too_short", "values": {"minutes": 4.5, "needed_minutes": 7}}}
SCRIPT = f"""
case "$*" in
  *"--minutes 2.0"*) sleep 600 ;;
  plan*"--minutes 3.5"*) echo "gptsmith: no room" >&2; exit 2 ;;
  plan*"--minutes 4.5"*)
    echo '{json_text(PROBLEM)}' > "$GPTSMITH_PROGRESS"
    echo "gptsmith: --minutes 4.5 is too short" >&2; exit 2 ;;
  plan*) echo '{json_text(FIGURES)}' ;;
  *) while :; do sleep 0.05; done ;;
esac
"""


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


@pytest.fixture
def words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs whose program only says what it would do."""
    monkeypatch.setattr(queue, "PROGRAM", ("/bin/sh", "-c", SCRIPT, "sh"))
