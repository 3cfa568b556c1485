"""The entry in the desktop's menu, and the ends of a studio that it has started."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

import pytest

from gptsmith.base.errors import UserError
from gptsmith.serve.studio import running
from gptsmith.serve.studio.shortcut import install_shortcut

from ..conftest import until
from .conftest import opened


def unquoted(line: str) -> list[str]:
    """The words of an Exec line, by the specification: first the escapes of the value, then those of its quotes."""
    value = line.replace("\\\\", "\\")
    words = re.findall(r'"((?:[^"\\]|\\.)*)"', value)
    return [re.sub(r"\\(.)", r"\1", word).replace("%%", "%") for word in words]


@pytest.mark.parametrize("name", ["models", 'my "best" $models', "50 % \\ `done`", "模型"])
def test_an_entry_starts_the_studio_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    folder = tmp_path / name
    for _ in range(2):
        entry = install_shortcut(folder)
    lines = dict(line.split("=", 1) for line in entry.read_text(encoding="utf-8").splitlines()[1:])
    assert unquoted(lines["Exec"]) == [sys.executable, "-P", "-m", "gptsmith", "studio", str(folder)]
    assert Path(lines["Icon"]).read_bytes().startswith(b"<svg")
    assert entry.parent.name == "applications"


def test_what_an_entry_cannot_hold_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    with pytest.raises(UserError, match="cannot hold this name"):
        install_shortcut(tmp_path / "a\nb")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written"):
        install_shortcut(tmp_path)


def test_a_page_can_end_its_studio(tmp_path: Path) -> None:
    with opened(tmp_path) as studio:
        studio.post("quit")
        thread = studio.server._thread
        until(lambda: thread is None or not thread.is_alive(), "it ends")


def test_a_usual_port_that_is_taken_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(running, "USUAL_PORT", taken.getsockname()[1])
        with running._listening(None) as free:
            assert free.getsockname()[1] != taken.getsockname()[1]
        with pytest.raises(UserError, match="not available"):
            running._listening(taken.getsockname()[1])
