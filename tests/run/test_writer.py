"""Checkpoints survive what kills a process, fills a disk or comes twice."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gptsmith.base.errors import UserError
from gptsmith.base.leftovers import OLD, TEMPORARY, sweep
from gptsmith.run import writer as writer_module
from gptsmith.run.checkpoint import Retention, list_checkpoints, publish_checkpoint, set_aside
from gptsmith.run.writer import CheckpointWriter, claimed, only_writer

PUBLISHING = Path(__file__).with_name("publishing.py")
NUM_KILLS = int(os.environ.get("GPTSMITH_TORTURE_WRITER", "60"))


def fill(folder: Path) -> None:
    (folder / "a.bin").write_bytes(bytes(range(256)) * 20)


def a_writer(run: Path, said: list[str] | None = None, keep: int = 2) -> CheckpointWriter:
    return CheckpointWriter(run / "checkpoints", Retention(keep), (said if said is not None else []).append)


def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    chance = random.Random(0)
    acknowledged = 0
    command, pipe = [sys.executable, str(PUBLISHING), str(tmp_path)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1) as publishers:
        assert publishers.stdin is not None
        assert publishers.stdout is not None
        for _ in range(NUM_KILLS):
            publishers.stdin.write("\n")
            pid, step = int(publishers.stdout.readline()), int(publishers.stdout.readline())  # it has begun to publish
            time.sleep(chance.random() * 0.05)
            os.kill(pid, signal.SIGKILL)
            acknowledged = max([acknowledged, step, *map(int, iter(publishers.stdout.readline, "killed\n"))])
            published = list_checkpoints(tmp_path / "checkpoints")
            aside = [path.name.removeprefix(OLD) for path in (tmp_path / "checkpoints").glob(f"{OLD}*")]
            assert all(checkpoint.problem() is None for checkpoint in published)
            assert max([each.step for each in published] + [int(name[5:]) for name in aside]) >= acknowledged
        _, err = publishers.communicate()
    assert err == ""
    sweep(tmp_path / "checkpoints")
    assert list_checkpoints(tmp_path / "checkpoints")[0].step >= acknowledged > NUM_KILLS // 2
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.name.startswith(".")]


def test_a_checkpoint_set_aside_for_its_successor_comes_back(tmp_path: Path) -> None:
    publish_checkpoint(tmp_path, 1, fill)
    (tmp_path / "step-000000001").rename(tmp_path / f"{OLD}step-000000001")
    (tmp_path / f"{TEMPORARY}step-000000001-abc").mkdir()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
    assert list_checkpoints(tmp_path)[0].problem() is None


def test_a_run_has_one_writer(tmp_path: Path) -> None:
    rest = tmp_path / "checkpoints" / f"{TEMPORARY}mine"
    rest.mkdir(parents=True)
    with only_writer(tmp_path):
        assert not rest.exists()
        rest.mkdir()
        with pytest.raises(UserError, match="is being trained by another process"), only_writer(tmp_path):
            pass
        assert rest.exists()
    with only_writer(tmp_path):
        assert not rest.exists()


def test_saving_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    may_write = threading.Event()

    def slow(folder: Path) -> None:
        assert may_write.wait(10)
        fill(folder)

    with a_writer(tmp_path) as writer:
        writer.save(1, 10, slow, None)
        assert list_checkpoints(writer.checkpoints) == []
        may_write.set()
        writer.wait()
        assert [checkpoint.step for checkpoint in list_checkpoints(writer.checkpoints)] == [1]


def test_a_full_disk_is_survived_three_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with a_writer(tmp_path, said) as writer:
        writer.save(1, 10, fill, None)
        writer.wait()
        with monkeypatch.context() as full:
            full.setattr(writer_module, "SPARE_BYTES", 1 << 62)
            for step in (2, 3):
                writer.save(step, 10, fill, None)
                writer.wait()
            assert len(said) == 2
            assert "training continues" in said[0]
        writer.save(4, 10, fill, None)
        writer.wait()
        assert [checkpoint.step for checkpoint in list_checkpoints(writer.checkpoints)] == [4, 1]
        monkeypatch.setattr(writer_module, "SPARE_BYTES", 1 << 62)
        for step in (5, 6, 7):
            writer.save(step, 10, fill, None)
        with pytest.raises(UserError, match="3 checkpoints in a row could not be written: a checkpoint needs"):
            writer.save(8, 10, fill, None)


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.getuid() != 0, reason="needs root to mount a tmpfs")
def test_a_disk_that_fills_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "disk"
    run.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(run)], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        monkeypatch.setattr(writer_module, "SPARE_BYTES", 0)
        said: list[str] = []
        with a_writer(run, said) as writer:
            writer.save(1, 0, lambda folder: fill(folder), None)
            writer.save(2, 0, lambda folder: (folder / "large").write_bytes(bytes(2_000_000)) and None, None)
            writer.wait()
            assert "no room on the disk" in said[0]
            writer.save(3, 0, fill, None)
            writer.wait()
            assert [checkpoint.step for checkpoint in list_checkpoints(writer.checkpoints)] == [3, 1]
            assert all(checkpoint.problem() is None for checkpoint in list_checkpoints(writer.checkpoints))
            assert not list(writer.checkpoints.glob(f"{TEMPORARY}*"))
    finally:
        subprocess.run(["umount", str(run)], check=True)


def test_only_what_was_verified_counts_for_deletion(tmp_path: Path) -> None:
    for step in range(1, 7):
        publish_checkpoint(tmp_path, step, fill)
    for step in (5, 6):
        (tmp_path / f"step-{step:09d}" / "a.bin").write_bytes(b"bad")
    Retention(keep=2, keep_every_steps=2).apply(tmp_path, best_step=1)
    assert [checkpoint.step for checkpoint in list_checkpoints(tmp_path)] == [6, 5, 4, 3, 2, 1]
    Retention(keep=2).apply(tmp_path, best_step=1)
    assert [checkpoint.step for checkpoint in list_checkpoints(tmp_path)] == [6, 5, 4, 3, 1]


def test_what_is_set_aside_is_kept(tmp_path: Path) -> None:
    for number in range(2):
        checkpoint = publish_checkpoint(tmp_path, 1, fill)
        (checkpoint.folder / "mark").write_text(str(number), encoding="utf-8")
        set_aside(checkpoint, "bad")
    assert list_checkpoints(tmp_path) == []
    marks = [(tmp_path / name / "mark").read_text() for name in (".bad-step-000000001", ".bad-step-000000001-2")]
    assert marks == ["0", "1"]
    shutil.rmtree(tmp_path)


def test_two_commands_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    names = [tmp_path / "runs" / name for name in ("mine", "mine-2", "mine-3")]
    names[1].mkdir(parents=True)
    (names[1] / "notes").write_text("mine", encoding="utf-8")
    with claimed(names) as first, claimed(names) as second:
        assert (first, second) == (names[0], names[2])
        with pytest.raises(UserError, match="is being trained by another process"), claimed(names):
            pass
        with pytest.raises(UserError, match="exists already and is not a run"), claimed(names[1:2]):
            pass
    assert [name.exists() for name in names] == [True, True, True]


def test_a_claim_that_fails_before_there_is_a_run_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="before"), claimed([tmp_path / "mine"]):
        raise RuntimeError("before")
    assert not (tmp_path / "mine").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".lock").touch()  # of a process that was killed just there
    with contextlib.suppress(RuntimeError), claimed([tmp_path / "mine"]) as folder:
        (folder / "run.toml").touch()
        raise RuntimeError("after")
    assert (tmp_path / "mine" / "run.toml").exists()
