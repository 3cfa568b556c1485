"""The improvements of a studio: each is trained by a job, and judged pair by pair, in whatever studio runs meanwhile.

    training -> judging -> better | worse | alike     by the verdict of the pairs
        |          `-> stopped -> judging             by the person, who may go on
        `-> failed | cancelled -> training            by the job, which may be tried again

Each arrow is one transaction. A verdict `better` makes the improved model the default one in the transaction that keeps
the judgement.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptsmith.base.json_text import json_text
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.default_model import DefaultModel
from gptsmith.serve.studio.improve.held_back import Messages
from gptsmith.serve.studio.improve.pairs import Choice, Pairs, Source
from gptsmith.serve.studio.improve.recipe import Recipe
from gptsmith.serve.studio.jobs.queue import Jobs

LISTENER = "improve"
OPEN = ("training", "judging")
"""States that somebody waits in."""
CLOSED = ("failed", "cancelled", "stopped", "better", "worse", "alike")
STATE_OF_JOB = {"done": "judging", "stopped": "cancelled"}
"""Other ends are failures."""


class Improvements:
    """The improvements of a studio, in its database.

    Attributes:
        pairs: what they are judged by.
    """

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database, self._jobs, self.pairs = database, jobs, Pairs(database)
        self._default = DefaultModel(database)
        jobs.listen(LISTENER, self._job_ended)

    def every(self) -> list[dict[str, Any]]:
        """All improvements, the latest first."""
        return [self.get(name) for name in self.ids()]

    def ids(self) -> list[str]:
        """The ids of all, the latest first."""
        rows = self._database.rows("SELECT id FROM improvements ORDER BY created DESC, id")
        return [str(row["id"]) for row in rows]

    def open_one(self, model: str) -> str | None:
        """The improvement of a model that is being trained or judged; None if there is none."""
        query = "SELECT id FROM improvements WHERE model = ? AND state IN (?, ?)"
        row = self._database.row(query, model, *OPEN)
        return None if row is None else str(row["id"])

    def models(self, name: str) -> tuple[str, str]:
        """The old and the new model.

        Raises:
            ApiError: there is no such improvement.
        """
        row = self._row(name)
        return row["model"], row["run"]

    def is_judged(self, name: str) -> bool:
        """Whether an improvement is being judged."""
        return bool(self._row(name)["state"] == "judging")

    def is_known(self, run: str) -> bool:
        """Whether a run of that name was made, or is to be made, by an improvement."""
        return self._database.row("SELECT id FROM improvements WHERE run = ?", run) is not None

    # Training

    def begin(
        self,
        name: str,
        model: str,
        run: str,
        recipe: Recipe,
        arguments: Sequence[str],
        prompts: Sequence[tuple[Source, Messages]],
    ) -> None:
        """Queues the training of an improved model: there is a job then, or no improvement either.

        Args:
            name: the id of the improvement.
            arguments: the words of the job after `finetune`.
            prompts: those to judge on.

        Raises:
            ApiError: the model is being improved already.
        """
        with self._database.transaction() as connection:
            self._require_no_other(model)
            connection.execute(
                "INSERT INTO improvements (id, created, model, run, recipe, arguments, state) "
                "VALUES (?, ?, ?, ?, ?, ?, 'training')",
                (name, time.time(), model, run, json_text(recipe.plain()), json_text(list(arguments))),
            )
            self.pairs.add_prompts(name, prompts)
            self._train(name)

    def _train(self, name: str) -> None:
        row = self._row(name)
        title = f"{row['model']} → {row['run']}"
        job = self._jobs.add("finetune", json.loads(row["arguments"]), title=title, run=row["run"])
        self._jobs.when_done(job, LISTENER)
        self._set(name, state="training", job=job)

    def _job_ended(self, job: dict[str, Any]) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE improvements SET state = ? WHERE job = ? AND state = 'training'",
                (STATE_OF_JOB.get(job["state"], "failed"), job["id"]),
            )

    def cancel(self, name: str) -> None:
        """Stops the training.

        Raises:
            ApiError: it is not being trained.
        """
        self._require(name, "training")
        self._jobs.cancel(self._row(name)["job"])

    def retry(self, name: str) -> None:
        """Trains on, after the training failed or was cancelled.

        Raises:
            ApiError: it did not, or the model is being improved already.
        """
        with self._database.transaction():
            self._require(name, "failed", "cancelled")
            self._require_no_other(self._row(name)["model"])
            self._train(name)

    # Judging

    def keep_pair(self, name: str, number: int, prompt: int, old: str, new: str) -> None:
        """Keeps a pair to be judged, and decides if the answers are equal and that is enough."""
        with self._database.transaction():
            self.pairs.keep(name, number, prompt, old, new)
            self._decide(name)

    def judge(self, name: str, number: int, choice: Choice) -> None:
        """Keeps a judgement, and decides if that is enough. The first judgement of a pair counts.

        Raises:
            ApiError: there is no such pair, or it is not being judged.
        """
        with self._database.transaction():
            if not self.pairs.is_judged(name, number):
                self._require(name, "judging")
                self.pairs.judge(name, number, choice)
                self._decide(name)

    def _decide(self, name: str) -> None:
        verdict, row = self.pairs.figures(name).verdict, self._row(name)
        if verdict == "unclear" or row["state"] != "judging":
            return
        self._set(name, state=verdict)
        if verdict == "better":
            self._set(name, default_before=json_text(self._default.name()))
            self._default.choose(row["run"])

    def stop(self, name: str) -> None:
        """Ends the judging before there is a verdict.

        Raises:
            ApiError: it is not being judged.
        """
        with self._database.transaction():
            self._require(name, "judging")
            self._set(name, state="stopped")

    def go_on(self, name: str) -> None:
        """Goes on with judging that was stopped: the test holds however often somebody looks.

        Raises:
            ApiError: it was not, or the model is being improved again.
        """
        with self._database.transaction():
            self._require(name, "stopped")
            self._require_no_other(self._row(name)["model"])
            self._set(name, state="judging")

    def undo(self, name: str) -> None:
        """Makes the model the default that was it before.

        Raises:
            ApiError: the improved model is not the default.
        """
        with self._database.transaction():
            row = self._row(name)
            if not self._can_undo(row):
                raise ApiError(409, f"{row['run']} is not used by default", code="conflict")
            self._default.choose(json.loads(row["default_before"]))
            self._set(name, is_undone=1)

    def remove(self, name: str) -> None:
        """Forgets an improvement with its prompts, answers and judgements; its model stays.

        Raises:
            ApiError: it is being trained.
        """
        with self._database.transaction() as connection:
            self._require(name, *CLOSED, "judging")
            connection.execute("DELETE FROM improvements WHERE id = ?", (name,))
        self._database.scrub()

    def renamed(self, model: str, new: str) -> None:
        """Follows a model to its new name."""
        with self._database.transaction() as connection:
            for column in ("model", "run"):
                # Of a run that is gone, another improvement may still have the name.
                connection.execute(f"UPDATE OR IGNORE improvements SET {column} = ? WHERE {column} = ?", (new, model))
            for name in self.ids():  # training may be tried again
                words = [_renamed(word, model, new) for word in json.loads(self._row(name)["arguments"])]
                self._set(name, arguments=json_text(words))
            values = json_text(new), json_text(model)
            connection.execute("UPDATE improvements SET default_before = ? WHERE default_before = ?", values)

    # What a page may know

    def get(self, name: str) -> dict[str, Any]:
        """An improvement for its page. While it is judged, nothing says which answer, or how many, are of which model.

        Raises:
            ApiError: there is none.
        """
        row, figures = self._row(name), self.pairs.figures(name)
        kept = ("id", "created", "model", "run", "state", "job")
        counts = {"wins": figures.wins, "losses": figures.losses, "ties": figures.ties, "p": figures.p}
        return {
            **{key: row[key] for key in kept},
            "recipe": json.loads(row["recipe"]),
            "num_prompts": self.pairs.num_prompts(name),
            "num_judged": figures.num_pairs,
            "num_equal": self.pairs.num_equal(name),
            "num_more": figures.num_more,
            "figures": None if row["state"] in OPEN else counts,
            "pair": self.pairs.next(name) if row["state"] == "judging" else None,
            "is_default": self._default.name() == row["run"],
            "can_undo": self._can_undo(row),
        }

    def _can_undo(self, row: dict[str, Any]) -> bool:
        return row["default_before"] is not None and not row["is_undone"] and self._default.name() == row["run"]

    def _row(self, name: str) -> dict[str, Any]:
        row = self._database.row("SELECT * FROM improvements WHERE id = ?", name)
        if row is None:
            raise ApiError(404, "there is no such improvement", code="not_found")
        return row

    def _require(self, name: str, *states: str) -> None:
        state = self._row(name)["state"]
        if state not in states:
            raise ApiError(409, f"that is not possible now: it is {state}", code="conflict")

    def _require_no_other(self, model: str) -> None:
        if self.open_one(model) is not None:
            raise ApiError(409, f"{model} is being improved: judge that first, or cancel it", code="conflict")

    def _set(self, name: str, **values: Any) -> None:
        columns = ", ".join(f"{column} = ?" for column in values)
        with self._database.transaction() as connection:
            connection.execute(f"UPDATE improvements SET {columns} WHERE id = ?", (*values.values(), name))


def _renamed(word: str, model: str, new: str) -> str:
    """A word of a command line, with the new name of a model if it is its path."""
    path = Path(word)
    return str(path.with_name(new)) if path.is_absolute() and path.name == model else word
