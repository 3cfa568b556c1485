"""The log of a run after a crash, and with any text."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptsmith.base.runlog import RunLog


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    return RunLog(tmp_path / "metrics.jsonl")


def test_a_log_that_is_not_there_has_no_events(log: RunLog) -> None:
    assert log.events() == []


@pytest.mark.parametrize("text", ["a\u2028b", "a\u0085b", "a\x0bb\x1cc", "two\nlines\r\n", "é🙂", "\ufeff", ""])
def test_any_text_comes_back(log: RunLog, text: str) -> None:
    log.append("sample", text=text)
    log.append("end")
    assert log.events() == [{"event": "sample", "text": text}, {"event": "end"}]


def test_a_torn_line_is_left_out_wherever_it_was_cut(log: RunLog) -> None:
    log.append("first", text="a")
    before = log.path.read_bytes()
    log.append("sample", text="🙂é")
    whole = log.path.read_bytes()
    for end in range(len(before), len(whole) - 1):
        log.path.write_bytes(whole[:end])
        assert [row["event"] for row in log.events()] == ["first"]


def test_what_is_appended_after_a_torn_line_is_kept(log: RunLog) -> None:
    log.append("first")
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + whole[:7])
    log.append("resumed", step=3)
    log.append("end")
    assert [row["event"] for row in log.events()] == ["first", "resumed", "end"]
