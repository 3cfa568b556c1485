"""Plans that jobs make, kept for the same command and the same files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.base.json_text import json_text
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.jobs.queue import Jobs

BROKEN = ("failed", "killed")


@dataclass(frozen=True)
class Known:
    """What is known of how a training will be.

    Attributes:
        state: `guessed`, `planning`, `planned` or `failed`.
        figures: of the plan, exact if it is planned.
        job: of the plan; None if there is none.
        problem: why there is no plan.
        notice: the same as a code and values, if it has them.
    """

    state: str
    figures: Mapping[str, Any]
    job: str | None = None
    problem: str = ""
    notice: Mapping[str, Any] | None = None


class Plans:
    """The plans of a studio, by a key that is the same for the same training, and by one for the same in another
    time."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database, self._jobs = database, jobs

    def known(
        self,
        key: str,
        similar: str,
        words: Sequence[str],
        guess: Mapping[str, Any],
        *,
        title: str,
        is_exact: bool,
        begun: Callable[[str], None] = lambda _: None,
    ) -> Known:
        """What is known of a training now.

        Args:
            words: those behind `plan` that plan it.
            guess: its figures while there is no plan.
            title: of the job, for people.
            is_exact: begins a job that makes the plan, if there is none.
            begun: called with that job before it can start.
        """
        row = self._database.row("SELECT * FROM plans WHERE key = ?", key)
        if row is not None and row["figures"] is not None:
            return Known("planned", json.loads(row["figures"]), row["job"])
        job = None if row is None else self._job(row["job"])
        if job is not None and job["state"] in BROKEN and not is_exact:  # a new wish for it is a new try
            self._forget(key)
            job = None
        if job is None or job["state"] in ("stopping", "stopped"):
            if not is_exact:
                return Known("guessed", guess)
            job = self._jobs.get(self._begin(key, similar, words, title, begun))
        if job["state"] in BROKEN:
            return Known("failed", guess, job["id"], job["message"] or "", job["notice"])
        if job["state"] != "done":
            return Known("planning", guess, job["id"])
        figures = job["result"] or {}
        with self._database.transaction() as connection:
            connection.execute("UPDATE plans SET figures = ?, made = ? WHERE key = ?",
                               (json_text(figures), time.time(), key))  # fmt: skip
        return Known("planned", figures, job["id"])

    def earlier(self, similar: str) -> Mapping[str, Any] | None:
        """The figures of the latest plan of the same training in another time; None without one."""
        row = self._database.row(
            "SELECT figures FROM plans WHERE similar = ? AND figures IS NOT NULL ORDER BY made DESC", similar
        )
        return None if row is None else json.loads(row["figures"])

    def drop(self, job: str | None, unless: str | None = None) -> None:
        """Stops a plan that nobody waits for any more, unless it is that of a key."""
        if job is None or self._database.row("SELECT 1 FROM plans WHERE job = ? AND key = ?", job, unless):
            return
        found = self._job(job)
        if found is not None and found["verb"] == "plan" and found["ended"] is None:
            self._jobs.cancel(job)

    def _begin(self, key: str, similar: str, words: Sequence[str], title: str, begun: Callable[[str], None]) -> str:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM plans WHERE job NOT IN (SELECT id FROM jobs)")  # which are forgotten, too
            job = self._jobs.add("plan", words, title=title, lane="quick")
            connection.execute("INSERT OR REPLACE INTO plans (key, similar, job) VALUES (?, ?, ?)",
                               (key, similar, job))  # fmt: skip
            begun(job)
        return job

    def _forget(self, key: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM plans WHERE key = ?", (key,))

    def _job(self, job: str) -> dict[str, Any] | None:
        try:
            return self._jobs.get(job)
        except ApiError:  # it was forgotten
            return None
