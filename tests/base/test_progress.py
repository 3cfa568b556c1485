"""How far a process is, for another program: the outermost work, the time that it has left, and no failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptsmith.base import progress
from gptsmith.base.console import hushed, meter
from gptsmith.base.files import read_json
from gptsmith.base.progress import PROGRESS_FILE
from tests.forked import Forked


def test_the_outermost_work_is_told_with_the_time_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, now = tmp_path / "progress.json", [0.0]
    monkeypatch.setenv(PROGRESS_FILE, str(path))
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with hushed(), meter("unseen", 10) as bar:
        bar.update(5)
    assert not path.exists()
    with meter("training", 100) as bar:
        assert read_json(path) == {"words": "training", "fraction": 0.0, "figures": "", "seconds_left": None}
        bar.update(50, "resumed here")
        now[0] = 10.0
        bar.update(60, "loss 2")
        with meter("within", 3):
            now[0] = 10.2
            bar.update(99)
        assert read_json(path) == {"words": "training", "fraction": 0.6, "figures": "loss 2", "seconds_left": 40.0}
    with meter("after", 1):
        assert read_json(path)["words"] == "after"


def test_a_file_that_cannot_be_written_harms_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROGRESS_FILE, str(tmp_path / "missing" / "progress.json"))
    with meter("training", 2) as bar:
        bar.update(1)


@pytest.mark.story
def test_a_verb_tells_it(tmp_path: Path) -> None:
    path, text = tmp_path / "progress.json", tmp_path / "text"
    text.mkdir()
    (text / "one.txt").write_text("The old smith made nails.\n" * 200)
    environment = {PROGRESS_FILE: str(path), "GPTSMITH_CACHE": str(tmp_path / "cache")}
    assert Forked("audit", text, "--json", environment=environment).wait() == 0
    assert 0 <= read_json(path)["fraction"] <= 1


def test_a_command_that_fails_says_why_as_a_code(tmp_path: Path) -> None:
    path, text = tmp_path / "progress.json", tmp_path / "latin.txt"
    text.write_bytes("déjà vu. ".encode("latin-1") * 400)
    words = ("plan", text, "--minutes", 1, "--encoding", "utf-8")
    assert Forked(*words, environment={PROGRESS_FILE: str(path)}).wait() == 2
    problem = read_json(path)["problem"]
    assert problem["code"] == "encoding"
    assert problem["values"] == {"file": str(text), "place": 1, "encoding": "UTF-8"}
