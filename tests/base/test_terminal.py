"""What a model writes cannot do anything to a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from gptsmith.base.errors import UserError
from gptsmith.base.terminal import read_line, visible


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_control_characters_are_shown_on_a_terminal_and_kept_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a\x1b]0;title\x07\x9b2J\r\n\té😀\x7f"
    monkeypatch.setattr(sys, "stdout", Screen())
    assert visible(text) == "a␛]0;title␇\ufffd2J\n\té😀␡"
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert visible(text) == text


def test_a_line_is_read_without_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one \n\ntwo"))
    assert [read_line() for _ in range(4)] == ["one ", "", "two", None]


def test_a_line_that_is_no_text_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8"))
    with pytest.raises(UserError, match="utf-8"):
        read_line()
