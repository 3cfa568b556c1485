"""Requests that wait for files to be read, and all others meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import UserError
from gptsmith.serve.studio.data.collections import Collection
from gptsmith.serve.studio.data.reading import Readings

from ..conftest import DEADLINE_S
from .conftest import Opened

MANY = 40


def test_many_that_wait_hold_nobody_else_up(studio: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, answers = threading.Event(), list[int]()

    def plan(_: Any) -> dict[str, Any]:
        goes_on.wait(DEADLINE_S)
        return {}

    def ask() -> None:
        answers.append(studio.ask("POST", "/studio/api/train/plan", {"data": "texts", "minutes": 1}).status)

    monkeypatch.setattr(studio.server.studio.training, "plan", plan)
    waiting = [threading.Thread(target=ask) for _ in range(MANY)]
    for one in waiting:
        one.start()
    try:
        assert studio.get("home")["runs"] == []
        assert not answers
    finally:
        goes_on.set()
        for one in waiting:
            one.join()
    assert answers == [200] * MANY


def test_the_end_of_a_studio_ends_the_waiting_for_what_was_not_begun(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The old smith.", encoding="utf-8")
    readings, goes_on, said = Readings(), threading.Event(), list[str]()
    readings._thread.submit(goes_on.wait, DEADLINE_S)  # another reading, which takes long

    def read() -> None:
        try:
            readings.read(Collection(1, "texts", tmp_path, tmp_path))
        except UserError as error:
            said.append(str(error))

    waiting = threading.Thread(target=read, daemon=True)
    waiting.start()
    while readings.num_documents(Collection(1, "texts", tmp_path, tmp_path)) is None and not readings._readings:
        pass
    closing = threading.Thread(target=readings.close)
    closing.start()
    goes_on.set()
    closing.join()
    waiting.join(DEADLINE_S)
    assert said == ["the reading was cancelled"]
