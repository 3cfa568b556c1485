"""A queue of jobs whose verbs are lines of a shell, so that each takes no time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.jobs import queue
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.place import Place

DEADLINE_S = 30.0
SCRIPT = """
case "$1" in
  log) echo "begin $3" >> "$2"; sleep "${4:-0}"; echo "end $3" >> "$2"; echo '{"said": "'"$3"'"}' ;;
  fail) echo "a line before" >&2; echo "gptsmith: $2" >&2; exit 2 ;;
  die) kill -9 $$ ;;
  wait) trap 'echo heard >> "$2"; exit 130' INT; echo begun >> "$2"; while :; do sleep 0.02; done ;;
  deaf) trap '' INT; echo begun >> "$2"; while :; do sleep 0.02; done ;;
  loud) yes "loud line" | head -c "$2" >&2; echo last >&2; exit 1 ;;
  far) echo '{"words": "training", "fraction": 0.5, "figures": "", "seconds_left": 3}' > "$GPTSMITH_PROGRESS"
       while [ ! -e "$2" ]; do sleep 0.02; done ;;
esac
"""
PROGRAM = ("/bin/sh", "-c", SCRIPT, "sh")


class Queue:
    """The jobs of a folder, as one studio after the other has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"

    @contextmanager
    def studio(self, **listeners: Callable[[dict[str, Any]], None]) -> Iterator[Jobs]:
        """A studio's jobs while the block runs."""
        place = Place(self.folder)
        database = Database(place.database)
        jobs = Jobs(database, place)
        for name, listener in listeners.items():
            jobs.listen(name, listener)
        jobs.start()
        try:
            yield jobs
        finally:
            jobs.close()
            database.close()

    def lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []


def until(condition: Callable[[], bool]) -> None:
    """Waits for something to become true, and fails where it does not."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(jobs: Jobs, job: str) -> dict[str, Any]:
    """A job, once it has ended."""
    until(lambda: jobs.get(job)["state"] not in ("waiting", "running", "stopping"))
    return jobs.get(job)


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setattr(queue, "PROGRAM", PROGRAM)
    monkeypatch.setattr(queue, "LOOK_EVERY_S", 0.02)
    return Queue(tmp_path)
