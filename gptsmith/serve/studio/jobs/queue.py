"""The queue of jobs: one after the other in each lane, known to every later studio."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.files import write_atomically, writing
from gptsmith.base.interrupts import EXIT_CODE, SIGNALS
from gptsmith.base.json_text import json_text
from gptsmith.base.leftovers import remove
from gptsmith.serve.log import log_failure
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.jobs import child
from gptsmith.serve.studio.jobs.folder import JobFolder, Standing
from gptsmith.serve.studio.jobs.rows import ACTIVE, STARTED, WAITING, JobRows
from gptsmith.serve.studio.place import Place

PROGRAM = (sys.executable, "-P", "-m", "gptsmith")
"""What runs a verb. -P: the modules of Python are not looked for in the folder that it works in."""
LANES = ("train", "quick")
LOOK_EVERY_S = 0.25
IDLE_LOOK_EVERY_S = 5.0
MAX_KEPT = 500
"""How many jobs of a lane that have ended are remembered."""

Listener = Callable[[dict[str, Any]], None]


class Jobs(JobRows):
    """The jobs of a studio. Each is a command line of ours in a session of its own, which goes on without the studio.

    The child decides what happens, by its lock and by what it writes in the job's folder (see `JobFolder`); the table
    says what was asked for and what is known. A job is marked `started` before a child is, so that a studio that dies
    in between leaves no job that it could have forgotten: the next one starts a child again, and of several children of
    one job only the first runs its command.
    """

    def __init__(self, database: Database, place: Place) -> None:
        super().__init__(database, place)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._listeners: dict[str, Listener] = {}
        self._woken, self._is_closing = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begins to work through the queue, in a thread. All listeners are there by then."""
        self._thread.start()

    def close(self) -> None:
        """Ends that; jobs that are running go on."""
        self._is_closing = True
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()
        for ours in self._children.values():
            ours.returncode = 0  # it goes on, and is nobody's to wait for

    def add(
        self, verb: str, arguments: Sequence[str], *, title: str, run: str | None = None, lane: str = "train"
    ) -> str:
        """Queues a verb; the id of its job.

        Args:
            arguments: the words after the verb. Paths are relative to the studio's folder.
            title: what it does, for people.
            run: the name of the run that it makes or works on.
            lane: of those of one lane one runs at a time.

        Raises:
            UserError: it cannot be kept.
        """
        assert lane in LANES, lane
        name = secrets.token_hex(8)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO jobs (id, lane, verb, arguments, title, run, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (name, lane, verb, json_text(list(arguments)), title, run, time.time()),
            )
        self._woken.set()
        return name

    def listen(self, name: str, listener: Listener) -> None:
        """Names a function that jobs can call when they end. It is called with the job in a transaction, so that what
        it writes into the database, jobs that it adds included, happens once; it must be quick."""
        self._listeners[name] = listener

    def when_done(self, job: str, name: str) -> None:
        """Has the listener `name` called once when a job has ended, however it did, by a later studio if need be."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO job_listeners VALUES (?, ?)", (job, name))
        self._woken.set()

    def renamed(self, run: str, new: str) -> None:
        """Follows a run to its new name."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE jobs SET run = ? WHERE run = ?", (new, run))

    def cancel(self, job: str, *, at_once: bool = False) -> dict[str, Any]:
        """Drops a job that waits; stops one that runs as Ctrl-C does, or at once. The job as it is then.

        Raises:
            ApiError: there is none.
            UserError: the disk is full.
        """
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'stopped', ended = ? WHERE id = ? AND state = ?", (time.time(), job, WAITING)
            )
        row = self._row(job)
        if row["state"] == STARTED:
            folder = self._folder(row)
            with writing(folder.path):
                folder.path.mkdir(mode=0o700, exist_ok=True)
            write_atomically(folder.cancel, "")
            if at_once:
                write_atomically(folder.kill, "")
        self._woken.set()
        return self._shown(self._row(job))

    def move_up(self, job: str) -> dict[str, Any]:
        """Lets a job that waits change places with the one that waits before it in its lane. The job as it is then.

        Raises:
            ApiError: there is none.
            UserError: the disk is full.
        """
        before = "SELECT * FROM jobs WHERE lane = ? AND state = ? AND number < ? ORDER BY number DESC LIMIT 1"
        with self._database.transaction() as connection:
            row = self._row(job)
            other = self._database.row(before, row["lane"], WAITING, row["number"])
            if row["state"] == WAITING and other is not None:
                for number, one in ((-1, row), (row["number"], other), (other["number"], row)):
                    connection.execute("UPDATE jobs SET number = ? WHERE id = ?", (number, one["id"]))
        return self._shown(self._row(job))

    def _run(self) -> None:
        said = ""
        while not self._is_closing:
            is_busy = True
            try:
                self._forget_old()
                is_busy = sum(self._advance(lane) for lane in LANES) > 0
                self._call_listeners()
                said = ""
            except Exception as error:  # a full disk, say: the next time it may have room
                if said != (said := repr(error)):
                    log_failure(error)
            self._woken.wait(LOOK_EVERY_S if is_busy else IDLE_LOOK_EVERY_S)
            self._woken.clear()

    def _advance(self, lane: str) -> bool:
        """Ends the job that has ended, or starts the next one; whether there was one."""
        query = "SELECT * FROM jobs WHERE lane = ? AND state = ? ORDER BY number LIMIT 1"
        row = self._database.row(query, lane, STARTED)
        if row is None:
            with self._database.transaction() as connection:
                row = self._database.row(query, lane, WAITING)
                if row is None:
                    return False
                values = (STARTED, time.time(), row["id"])
                connection.execute("UPDATE jobs SET state = ?, started = ? WHERE id = ?", values)
        folder, ours = self._folder(row), self._children.get(row["id"])
        code = None if ours is None else ours.poll()  # before looking: a child that has left wrote what it had to
        standing = folder.standing()
        if standing in (Standing.ENDED, Standing.KILLED):
            self._end(row, *_outcome(folder))
        elif standing is Standing.NEW and (ours is None or code == child.TAKEN):
            self._start_child(row, folder)
        elif standing is Standing.NEW and code is not None:
            self._end(row, "failed", _last_words(folder) or f"it did not start ({code})", None)
        return True

    def _start_child(self, row: Mapping[str, Any], folder: JobFolder) -> None:
        try:
            folder.make([*PROGRAM, row["verb"], *json.loads(row["arguments"])], self._place.folder)
            with folder.err.open("ab") as err:
                self._children[row["id"]] = subprocess.Popen(
                    [sys.executable, "-P", "-m", child.__name__, str(folder.path)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=err,
                    start_new_session=True,
                )
        except (UserError, OSError) as error:
            self._end(row, "failed", str(error), None)

    def _end(self, row: Mapping[str, Any], state: str, message: str, ended: float | None) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, message = ?, ended = ? WHERE id = ?",
                (state, message or None, ended or time.time(), row["id"]),
            )
        ours = self._children.pop(row["id"], None)
        if ours is not None:
            ours.wait()

    def _call_listeners(self) -> None:
        rows = self._database.rows(
            "SELECT jobs.*, name FROM job_listeners JOIN jobs ON jobs.id = job WHERE state NOT IN (?, ?)", *ACTIVE
        )
        for row in rows:
            listener = self._listeners.get(row["name"])
            if listener is None:
                continue
            try:
                with self._database.transaction() as connection:
                    connection.execute("DELETE FROM job_listeners WHERE job = ? AND name = ?", (row["id"], row["name"]))
                    listener(self.get(row["id"]))
            except Exception as error:  # its fault, which must not come again and again
                log_failure(error)
                with self._database.transaction() as connection:
                    connection.execute("DELETE FROM job_listeners WHERE job = ? AND name = ?", (row["id"], row["name"]))

    def _forget_old(self) -> None:
        """Removes the oldest jobs of each lane that have ended, where there are many."""
        ended = "SELECT id FROM jobs WHERE lane = ? AND state NOT IN (?, ?) ORDER BY number DESC LIMIT -1 OFFSET ?"
        for row in chain.from_iterable(self._database.rows(ended, lane, *ACTIVE, MAX_KEPT) for lane in LANES):
            if (self._place.jobs / row["id"]).exists():
                remove(self._place.jobs / row["id"])
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM jobs WHERE id = ?", (row["id"],))


def _outcome(folder: JobFolder) -> tuple[str, str, float | None]:
    """How a job whose child is gone ended, why, and when."""
    code = folder.exit_code()
    was_stopped = folder.cancel.exists() or code in [EXIT_CODE + number for number in SIGNALS]
    if code == 0:
        state = "done"
    elif was_stopped:
        state = "stopped"
    else:
        state = "killed" if code is None or code < 0 else "failed"
    return state, _last_words(folder) if state in ("failed", "killed") else "", folder.ended()


def _last_words(folder: JobFolder) -> str:
    return folder.last_words().removeprefix("gptsmith: ")
