"""What a process that died left is cleared away; what one is working on is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gptsmith import cli
from gptsmith.base.files import published_folder, write_atomically
from gptsmith.base.leftovers import (
    FORMER_PREFIXES,
    OLD,
    TEMPORARY,
    leftovers,
    locked,
    may_be_in_use,
    noted_folders,
    sweep,
    sweep_noted,
)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="locks of folders are those of POSIX")

WORK = """
import signal, sys, time
from pathlib import Path
from gptsmith.base.files import published_folder
from gptsmith.base.leftovers import locked, temporary_path
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started the tests may ignore it, as nohup does
with published_folder(Path(sys.argv[1])) as folder:
    (folder / "weights").write_bytes(bytes(1000))
    file = temporary_path(Path(sys.argv[1]).with_name("small"))
    file.write_bytes(b"half")
    with locked(file):
        print("working", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def worker(tmp_path: Path) -> subprocess.Popen[str]:
    """A process in the middle of publishing a folder and of writing a file."""
    process = subprocess.Popen([sys.executable, "-c", WORK, str(tmp_path / "made")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_next_writer_clears_what_a_killed_one_left(
    tmp_path: Path, worker: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert len(list(tmp_path.glob(f"{TEMPORARY}*"))) == 2
    assert leftovers(tmp_path) == []
    sweep(tmp_path)  # the worker is alive
    assert len(list(tmp_path.glob(f"{TEMPORARY}*"))) == 2
    worker.send_signal(number)
    worker.communicate()
    assert len(leftovers(tmp_path)) == 2
    with published_folder(tmp_path / "made") as folder:
        (folder / "weights").write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_nothing_of_other_programs_is_touched(tmp_path: Path) -> None:
    for name in (".tmp-of-another", ".old-papers", "tmp-gptsmith-x", ".gptsmith"):
        (tmp_path / name).mkdir()
    before = sorted(tmp_path.iterdir())
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    sweep(tmp_path, FORMER_PREFIXES)  # as in a folder that is a run's alone
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gptsmith", "papers", "tmp-gptsmith-x"]


def test_what_was_to_be_replaced_comes_back_once_its_process_is_gone(tmp_path: Path) -> None:
    (tmp_path / f"{OLD}made").mkdir()
    with locked(tmp_path / f"{OLD}made"):
        sweep(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [f"{OLD}made"]
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    (tmp_path / f"{OLD}made").mkdir()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text").write_text("x", encoding="utf-8")
    (tmp_path / f"{TEMPORARY}link").symlink_to(tmp_path / "mine")
    sweep(tmp_path)
    assert (tmp_path / "mine" / "text").exists()


def test_a_folder_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir, swept = Path.mkdir, []

    def made_and_swept(self: Path, mode: int = 0o777, **how: bool) -> None:
        mkdir(self, mode, **how)
        if self.name.startswith(TEMPORARY) and len(swept) < 3:
            swept.append(self)
            sweep(tmp_path)

    monkeypatch.setattr(Path, "mkdir", made_and_swept)
    with published_folder(tmp_path / "made") as folder:
        (folder / "a").write_bytes(b"x")
    assert len(swept) == 3
    assert (tmp_path / "made" / "a").exists()
    touch = Path.touch

    def touched_and_swept(self: Path, mode: int = 0o666, exist_ok: bool = True) -> None:
        touch(self, mode, exist_ok)
        if len(swept) < 6:
            swept.append(self)
            with locked(self):  # a sweeper that is about to delete it
                self.unlink()
                touch(self, mode)

    monkeypatch.setattr(Path, "touch", touched_and_swept)
    write_atomically(tmp_path / "file", "x")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "x"


def test_without_locks_everything_may_be_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    (tmp_path / f"{TEMPORARY}x").mkdir()
    assert may_be_in_use(tmp_path / f"{TEMPORARY}x")
    with published_folder(tmp_path / "made") as folder:
        (folder / "a").write_bytes(b"x")
    assert (tmp_path / f"{TEMPORARY}x").exists()


def test_a_command_anywhere_clears_what_a_killed_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, str(tmp_path / "out" / "made")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    monkeypatch.chdir(tmp_path / "elsewhere")

    def command(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["gptsmith", *words])
        with pytest.raises(SystemExit):
            cli.main()
        return capsys.readouterr().out

    command("runs")
    assert len(list((tmp_path / "out").iterdir())) == 2, "the worker is alive"
    process.kill()
    process.communicate()
    left = [row["path"] for row in json.loads(command("cache", "--json"))["artefacts"]]
    assert sorted(left) == sorted(str(path) for path in (tmp_path / "out").iterdir())
    assert len(left) == 2, "they are shown, and stay"
    command("runs")
    assert not list((tmp_path / "out").iterdir())
    assert noted_folders() == []


def test_a_folder_is_noted_only_while_it_is_written_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    with published_folder(tmp_path / "a" / "one"), published_folder(tmp_path / "a" / "two"):
        assert noted_folders() == [tmp_path / "a"]
    assert noted_folders() == []
    monkeypatch.setenv("GPTSMITH_CACHE", "/dev/null/cache")
    with published_folder(tmp_path / "a" / "three"):
        assert noted_folders() == []
    sweep_noted()
    assert (tmp_path / "a" / "three").is_dir()
