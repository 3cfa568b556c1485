"""The jobs of a studio as they are now: what was asked for, and how each stands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.jobs.folder import JobFolder
from gptsmith.serve.studio.place import Place

WAITING, STARTED = "waiting", "started"
ACTIVE = (WAITING, STARTED)
MAX_LISTED = 200


class JobRows:
    """The jobs of a studio, which it reads of its database and of their folders."""

    def __init__(self, database: Database, place: Place) -> None:
        self._database, self._place = database, place

    def get(self, job: str) -> dict[str, Any]:
        """A job as it is now: id, title, verb, command, run, lane, state, created, started, ended, progress, message;
        and, of one that is done, its result: what it wrote to standard output as JSON.

        Raises:
            ApiError: there is none.
        """
        row = self._row(job)
        shown = self._shown(row)
        words = ["gptsmith", row["verb"], *json.loads(row["arguments"])]
        result = self._folder(row).result() if row["state"] == "done" else None
        return {**shown, "command": shlex.join(words), "result": result}

    def list(self, limit: int = MAX_LISTED, *, run: str | None = None, but: str = "") -> list[dict[str, Any]]:
        """The newest jobs, and all that wait or run, newest first; without commands and results.

        Args:
            limit: how many of those that have ended are listed at most.
            run: only those of this run.
            but: a verb whose jobs that have ended are not listed.
        """
        chosen = "number IN (SELECT number FROM jobs WHERE ? IN (run, '') AND verb <> ? ORDER BY number DESC LIMIT ?)"
        rows = self._database.rows(
            f"SELECT * FROM jobs WHERE ? IN (run, '') AND (state IN (?, ?) OR {chosen}) ORDER BY number DESC",
            *(run or "", *ACTIVE, run or "", but, limit),
        )
        return [self._shown(row) for row in rows]

    def of_run(self, run: str) -> dict[str, Any] | None:
        """The first job that waits or runs for a run; None if there is none."""
        return next(reversed(self.list(0, run=run)), None)

    def using(self, run: str, *paths: str) -> dict[str, Any] | None:
        """The first job that waits or runs for a run, or that a path was given of it; None if there is none."""
        rows = self._database.rows("SELECT * FROM jobs WHERE state IN (?, ?) ORDER BY number", *ACTIVE)
        found = (row for row in rows if row["run"] == run or not set(paths).isdisjoint(json.loads(row["arguments"])))
        return next(map(self._shown, found), None)

    def within(self, folder: Path) -> Sequence[dict[str, Any]]:
        """The jobs that wait or run and were given a path in a folder, the first one first."""
        rows = self._database.rows("SELECT * FROM jobs WHERE state IN (?, ?) ORDER BY number", *ACTIVE)
        return [self._shown(row) for row in rows if folder in _folders_of(row)]

    def _row(self, job: str) -> dict[str, Any]:
        row = self._database.row("SELECT * FROM jobs WHERE id = ?", job)
        if row is None:
            raise ApiError(404, "there is no such job", code="not_found")
        return row

    def _folder(self, row: Mapping[str, Any]) -> JobFolder:
        return JobFolder(self._place.jobs / row["id"])

    def _shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        keys = ("id", "title", "verb", "run", "lane", "state", "created", "started", "ended", "message")
        shown = {key: row[key] for key in keys}
        folder = self._folder(row)
        if row["state"] != STARTED:
            notice = folder.problem() if row["state"] == "failed" else None
            return {**shown, "progress": None, "notice": notice}
        state = "stopping" if folder.cancel.exists() else "running"
        return {**shown, "state": state, "progress": folder.progress_now(), "notice": None}


def _folders_of(row: Mapping[str, Any]) -> Iterator[Path]:
    """The folders in which the paths lie that a job was given, and those paths."""
    for word in json.loads(row["arguments"]):
        path = Path(word)
        yield from (path, *path.parents) if path.is_absolute() else ()
