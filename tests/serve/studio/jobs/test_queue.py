"""Jobs: their states and order, how they stop, and that no death of a studio loses or doubles one."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from gptsmith.base import files
from gptsmith.base.errors import UserError
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.jobs.folder import MAX_ERR_BYTES, JobFolder, Standing
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.place import Place

from .conftest import Queue, ended, until

NUM_KILLS = 100
STUDIOS = f"""
import os, sys, time
from pathlib import Path
from {__package__}.conftest import PROGRAM, Queue
from gptsmith.serve.studio.jobs import queue
queue.PROGRAM, queue.LOOK_EVERY_S = PROGRAM, 0.005
log = Path(sys.argv[1]) / "log"
for line in sys.stdin:
    # Each studio is a process of its own, of the session that the test ends.
    process = os.fork()
    if process == 0:
        with Queue(Path(sys.argv[1])).studio() as jobs:
            for number in line.split():
                jobs.add("log", [str(log), number, "0.02"], title=number, lane="train" if int(number) % 2 else "quick")
                os.write(1, f"{{number}}\\n".encode())
            os.write(1, b"all\\n")
            time.sleep(60)
    os.write(1, f"is {{process}}\\n".encode())
    os.waitpid(process, 0)
"""


def test_each_lane_runs_its_jobs_one_after_the_other(waiting: Queue) -> None:
    with waiting.studio() as jobs:
        names = [jobs.add("log", [str(waiting.log), str(n), "0.02"], title=f"job {n}") for n in range(3)]
        beside = jobs.add("log", [str(waiting.folder / "other"), "x"], title="beside", lane="quick")
        assert [ended(jobs, name)["result"] for name in names] == [{"said": str(n)} for n in range(3)]
        assert ended(jobs, beside)["state"] == "done"
        found = jobs.list()
    assert waiting.lines() == [f"{word} {n}" for n in range(3) for word in ("begin", "end")]
    assert [row["title"] for row in found] == ["beside", "job 2", "job 1", "job 0"]
    assert all(row["created"] <= row["started"] <= row["ended"] for row in found)


def test_how_a_job_ended_is_told_with_its_last_words(waiting: Queue) -> None:
    with waiting.studio() as jobs:
        failed = ended(jobs, jobs.add("fail", ["no such file: 🦊 ../x"], title="", lane="quick"))
        died = ended(jobs, jobs.add("die", [], title="", lane="quick"))
        loud = jobs.add("loud", [str(5 * MAX_ERR_BYTES)], title="", lane="quick")
        last = ended(jobs, loud)
    assert (failed["state"], failed["message"]) == ("failed", "no such file: 🦊 ../x")
    assert died["state"] == "killed"
    assert (last["state"], last["message"]) == ("failed", "last")
    assert JobFolder(Place(waiting.folder).jobs / loud).err.stat().st_size <= 2 * MAX_ERR_BYTES + (1 << 16)


def test_a_job_is_stopped_as_by_ctrl_c_and_then_at_once(waiting: Queue) -> None:
    with waiting.studio() as jobs:
        running = jobs.add("wait", [str(waiting.log)], title="")
        behind = jobs.add("log", [str(waiting.log), "behind"], title="")
        until(lambda: waiting.lines() == ["begun"])
        assert jobs.cancel(behind)["state"] == "stopped"
        jobs.cancel(running)
        assert ended(jobs, running)["state"] == "stopped"
        assert waiting.lines() == ["begun", "heard"]
        deaf = jobs.add("deaf", [str(waiting.log)], title="")
        until(lambda: waiting.lines()[-1] == "begun")
        assert jobs.cancel(deaf)["state"] == "stopping"
        jobs.cancel(deaf, at_once=True)
        assert ended(jobs, deaf)["state"] == "stopped"
        assert jobs.cancel(deaf)["state"] == "stopped"
        with pytest.raises(ApiError, match="no such job"):
            jobs.cancel("../jobs")
    assert "begin behind" not in waiting.lines()


def test_progress_is_told_and_a_later_studio_finds_what_goes_on(waiting: Queue) -> None:
    go = waiting.folder / "go"
    with waiting.studio() as jobs:
        running = jobs.add("far", [str(go)], title="")
        until(lambda: jobs.get(running)["progress"] is not None)
        assert jobs.get(running)["progress"]["fraction"] == 0.5
    with waiting.studio() as jobs:
        assert jobs.get(running)["state"] == "running"
        go.touch()
        assert ended(jobs, running)["state"] == "done"


def test_what_ended_without_a_studio_is_known_to_the_next_one(waiting: Queue) -> None:
    calls: list[str] = []

    def again(job: dict[str, Any]) -> None:
        calls.append(job["state"])
        jobs.add("log", [str(waiting.log), "next"], title="", lane="quick")

    with waiting.studio() as jobs:
        job = jobs.add("log", [str(waiting.log), "one", "0.2"], title="")
        jobs.when_done(job, "again")
        until(lambda: waiting.lines() == ["begin one"])
    until(lambda: JobFolder(Place(waiting.folder).jobs / job).standing() is Standing.ENDED)
    for _ in range(2):
        with waiting.studio(again=again) as jobs:
            assert ended(jobs, job)["state"] == "done"
            until(lambda: "end next" in waiting.lines())
    assert calls == ["done"]
    assert waiting.lines() == ["begin one", "end one", "begin next", "end next"]


def test_a_listener_that_fails_leaves_nothing_and_is_not_called_again(waiting: Queue) -> None:
    calls = []

    def fail(job: dict[str, Any]) -> None:
        calls.append(job["id"])
        jobs.add("log", [str(waiting.log), "next"], title="")
        raise ValueError

    with waiting.studio(fail=fail) as jobs:
        job = jobs.add("log", [str(waiting.log), "one"], title="")
        jobs.when_done(job, "fail")
        ended(jobs, job)
        until(lambda: bool(calls))
        after = jobs.add("log", [str(waiting.log), "after"], title="")
        ended(jobs, after)
    assert calls == [job]
    assert "begin next" not in waiting.lines()


def test_a_job_whose_process_was_killed_is_known_and_not_started_again(waiting: Queue) -> None:
    with waiting.studio() as jobs:
        running = jobs.add("wait", [str(waiting.log)], title="")
        until(lambda: waiting.lines() == ["begun"])
        folder = JobFolder(Place(waiting.folder).jobs / running)
        child = jobs._children[running]
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        # What it ran is still there, and holds the lock: nobody else may begin.
        assert folder.standing() is Standing.RUNNING
        assert jobs.get(running)["state"] == "running"
        group = subprocess.run(["pgrep", "-f", str(waiting.log)], capture_output=True, text=True, check=True)
        for pid in group.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        assert ended(jobs, running)["state"] == "killed"
    assert waiting.lines() == ["begun"]


def test_a_full_disk_takes_no_job_and_starts_none(waiting: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with waiting.studio() as jobs:
        monkeypatch.setattr(files, "_written", full)
        job = ended(jobs, jobs.add("log", [str(waiting.log), "one"], title=""))
        assert (job["state"], "no room" in job["message"]) == ("failed", True)
        jobs._database.rows("PRAGMA max_page_count = 1")
        with pytest.raises(UserError, match="full"):
            jobs.add("log", [str(waiting.log), "x" * 100_000], title="")
        monkeypatch.undo()
        assert [row["id"] for row in jobs.list()] == [job["id"]]
    assert waiting.lines() == []


def test_a_failure_of_one_look_ends_no_later_one(waiting: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    advance, failures = Jobs._advance, [ValueError(), OSError()]

    def fail_first(jobs: Jobs, lane: str) -> bool:
        if failures:
            raise failures.pop()
        return advance(jobs, lane)

    monkeypatch.setattr(Jobs, "_advance", fail_first)
    with waiting.studio() as jobs:
        assert ended(jobs, jobs.add("log", [str(waiting.log), "one"], title=""))["state"] == "done"


@pytest.mark.story
def test_no_death_of_a_studio_loses_or_doubles_a_job(waiting: Queue) -> None:
    chance = random.Random(0)
    number, acknowledged = 0, []
    with subprocess.Popen(
        [sys.executable, "-c", STUDIOS, str(waiting.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as studios:
        assert studios.stdin is not None
        assert studios.stdout is not None
        for _ in range(NUM_KILLS):
            wanted = [str(number + i) for i in range(chance.choice([0, 0, 1]))]
            number += len(wanted)
            studios.stdin.write(" ".join(wanted) + "\n")
            studios.stdin.flush()
            said, process = [], 0
            while not process or (wanted and not said):
                line = studios.stdout.readline().split()
                process = int(line[1]) if line[0] == "is" else process
                said += line if line[0] not in ("is", "all") else []
            acknowledged += said
            time.sleep(chance.random() * 0.06)
            os.kill(process, signal.SIGKILL)
        studios.stdin.close()
        acknowledged += [word for word in studios.stdout.read().split() if word in map(str, range(number))]
    with waiting.studio() as jobs:
        until(lambda: all(row["state"] == "done" for row in jobs.list()))
        titles = [row["title"] for row in reversed(jobs.list())]
    assert {*acknowledged} <= {*titles}
    assert len(titles) == len({*titles}) > NUM_KILLS // 5
    for odd in (0, 1):
        lane = [title for title in titles if int(title) % 2 == odd]
        lines = [line for line in waiting.lines() if int(line.split()[1]) % 2 == odd]
        assert lines == [f"{word} {title}" for title in lane for word in ("begin", "end")]


def test_a_job_that_waits_moves_up_in_its_lane_but_not_before_what_runs(waiting: Queue) -> None:
    with waiting.studio() as jobs:
        running = jobs.add("wait", [str(waiting.log)], title="running")
        until(lambda: waiting.lines() == ["begun"])
        first, _, third = [
            jobs.add("log", [str(waiting.log), name], title=name) for name in ("first", "second", "third")
        ]
        beside = jobs.add("log", [str(waiting.folder / "other"), "x"], title="beside", lane="quick")
        ended(jobs, beside)
        for job in (third, third, third, running, beside):
            jobs.move_up(job)
        assert [row["title"] for row in jobs.list() if row["state"] == "waiting"] == ["second", "first", "third"]
        with pytest.raises(ApiError, match="no such job"):
            jobs.move_up("none")
        jobs.cancel(running)
        ended(jobs, first)
        until(lambda: waiting.lines()[-1] == "end second")
    assert [line for line in waiting.lines() if "begin" in line] == ["begin third", "begin first", "begin second"]
