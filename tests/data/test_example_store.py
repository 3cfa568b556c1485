"""Examples on disk: the same as in memory."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest

from gptsmith.base.errors import UserError
from gptsmith.data.example_store import ChosenExamples, StoredExamples
from gptsmith.data.examples import example_shapes
from gptsmith.data.shapes import Example
from gptsmith.data.shapes.chat import ChatExample

CALL = {"type": "function", "function": {"name": "bend", "arguments": {"nail": [1, 2.5, None], "a": "\u00e9\ud800"}}}
TURNS = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "q\n\u2028"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "r"},
    {"role": "assistant", "content": "a", "reasoning_content": "t", "weight": 0.0},
    {"role": "user", "content": "again"},
    {"role": "assistant", "content": "b"},
]
RECORDS: dict[str, list[dict[str, Any]]] = {
    "chat": [{"messages": TURNS, "tools": [{"type": "function", "function": {"name": "bend"}}]}, {"question": "q",
             "answer": "4"}],
    "labelled": [{"text": "x", "label": "a"}, {"question": "q", "choices": ["a", "b"], "label": 1}],
    "preference": [{"prompt": "q", "chosen": "a", "rejected": "b"}],
    "unpaired_preference": [{"prompt": "q", "completion": "a", "label": True}],
}  # fmt: skip


def examples() -> list[Example]:
    return [
        shape.example(record, f"{shape.kind}, line {number}")
        for shape in example_shapes()
        for number, record in enumerate(RECORDS[shape.kind], 1)
    ]


def test_examples_of_every_shape_are_read_back_as_they_were() -> None:
    expected, stored = examples(), StoredExamples()
    for example in expected:
        stored.append(example)
    assert [*stored] == [*reversed([*reversed(stored)])] == expected
    assert (stored[-1], stored[1:3]) == (expected[-1], expected[1:3])
    with pytest.raises(IndexError):
        stored[len(expected)]
    # The order of an object's fields is what a template shows.
    turns = next(example.messages for example in stored if isinstance(example, ChatExample))
    turn = next(turn for turn in turns if "tool_calls" in turn)
    assert [*turn["tool_calls"][0]["function"]["arguments"]] == ["nail", "a"]
    chosen = ChosenExamples(stored, np.array([3, 0]))
    assert ([*chosen], len(chosen)) == ([expected[3], expected[0]], 2)


def test_a_full_disk_is_an_error_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = StoredExamples()

    def full(_: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stored._file, "write", full)
    with pytest.raises(UserError, match="no room on the disk"):
        stored.append(examples()[0])
