"""The marks of a studio, in its database."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from gptsmith.base.json_text import json_text
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.marks.examples import CONTINUATION, SHAPES, Objective, continuations, examples

MATCHES = "(? IS NULL OR kind = ?) AND (? IS NULL OR model = ? OR other_model = ?)"


class Marks:
    """What people said about answers, newest first.

    A mark is a table of `id`, `kind` (thumb, edit, choice or continuation), `verdict`, `at_ms`, `prompt` (turns with
    role and content), `answers` (of each its model, the SHA-256 of its weights, its text, its sampling, and of one that
    had passages of documents its `sources` and the `markers` of the model's turns) and `edited`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, mark: dict[str, Any]) -> bool:
        """Keeps a mark, or a later verdict in its place; whether it was the latest that is known of it."""
        models = [answer["model"] for answer in mark["answers"]]
        content = json_text({name: mark[name] for name in ("prompt", "answers", "edited")}, ensure_ascii=False)
        columns = (mark["id"], mark["kind"], mark["verdict"], models[0], (*models, None)[1], mark["at_ms"], content)
        with self._database.transaction() as connection:
            if _latest_ms(connection, mark["id"]) > mark["at_ms"]:
                return False
            connection.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?, ?, ?)", columns)
            connection.execute("DELETE FROM marks_taken_back WHERE id = ?", (mark["id"],))
        return True

    def take_back(self, name: str, at_ms: int | None = None) -> bool:
        """Deletes a mark, so that nothing of it stays in the files; whether that was the latest that is known of it.
        Copies of it from before that time (now by default), which may still be on their way, do not bring it back."""
        with self._database.transaction() as connection:
            latest_ms = _latest_ms(connection, name)
            at_ms = max(_now_ms(), latest_ms) if at_ms is None else at_ms
            if latest_ms > at_ms:
                return False
            connection.execute("DELETE FROM marks WHERE id = ?", (name,))
            connection.execute("INSERT OR REPLACE INTO marks_taken_back VALUES (?, ?)", (name, at_ms))
        self._database.scrub()
        return True

    def delete_all(self) -> int:
        """Deletes all marks, so that nothing of them stays in the files; how many there were."""
        with self._database.transaction() as connection:
            query = "INSERT OR REPLACE INTO marks_taken_back SELECT id, MAX(at_ms, ?) FROM marks"
            connection.execute(query, (_now_ms(),))
            num_deleted = connection.execute("DELETE FROM marks").rowcount
        self._database.scrub()
        return num_deleted

    def renamed(self, model: str, new: str) -> None:
        """Follows a model to its new name."""
        with self._database.transaction() as connection:
            for number, column in enumerate(("model", "other_model")):
                connection.execute(
                    f"UPDATE marks SET {column} = ?, content = json_set(content, ?, ?) WHERE {column} = ?",
                    (new, f"$.answers[{number}].model", new, model),
                )

    def list(
        self, model: str | None = None, kind: str | None = None, *, offset: int = 0, limit: int = -1
    ) -> list[dict[str, Any]]:
        """The marks of a model and of a kind."""
        query = f"SELECT * FROM marks WHERE {MATCHES} ORDER BY at_ms DESC, id LIMIT ? OFFSET ?"
        return [_mark(row) for row in self._database.rows(query, kind, kind, model, model, model, limit, offset)]

    def count(self, model: str | None = None, kind: str | None = None) -> int:
        """The number of marks of a model and of a kind."""
        query = f"SELECT COUNT(*) AS n FROM marks WHERE {MATCHES}"
        return int(self._database.rows(query, kind, kind, model, model, model)[0]["n"])

    def counts(self) -> Sequence[dict[str, Any]]:
        """Of each model, kind and verdict the number of marks. A choice between two models counts for both."""
        return self._database.rows(
            "SELECT model, kind, verdict, COUNT(*) AS count FROM ("
            "SELECT model, kind, verdict FROM marks UNION ALL "
            "SELECT other_model, kind, verdict FROM marks WHERE other_model != model"
            ") GROUP BY model, kind, verdict ORDER BY model, kind, verdict"
        )

    def num_examples(self) -> dict[Objective, int]:
        """How many marks each objective can learn from, empty answers included."""
        query = (
            "SELECT SUM(kind = 'edit') AS sft, "
            "SUM(kind = 'edit' OR kind = 'choice' AND verdict IN ('first', 'second')) AS dpo, "
            "SUM(kind = 'thumb') AS kto FROM marks"
        )
        row = self._database.rows(query)[0]
        return {objective: row[objective] or 0 for objective in SHAPES}

    def known(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Of each of these marks that is there its verdict and its time."""
        query = "SELECT id, verdict, at_ms FROM marks WHERE id IN (SELECT value FROM json_each(?))"
        rows = self._database.rows(query, json_text(list(ids)))
        return {row["id"]: {"verdict": row["verdict"], "at_ms": row["at_ms"]} for row in rows}

    def examples(
        self, objective: Objective, *, model: str | None = None, with_thumbs: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Records that an objective learns from, oldest first; `with_thumbs` adds answers with a thumb up to what SFT
        learns from."""
        return examples(reversed(self.list(model)), objective, with_thumbs=with_thumbs)

    def continuations(self) -> Iterator[dict[str, str]]:
        """The choices between continuations as pairs of plain text, oldest first."""
        return continuations(reversed(self.list(kind=CONTINUATION)))


def _latest_ms(connection: Any, name: str) -> int:
    """The time of the latest that is known of a mark; -1 if there is nothing."""
    query = "SELECT at_ms FROM marks WHERE id = ? UNION ALL SELECT at_ms FROM marks_taken_back WHERE id = ?"
    return max((at_ms for (at_ms,) in connection.execute(query, (name, name))), default=-1)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _mark(row: dict[str, Any]) -> dict[str, Any]:
    return {**{name: row[name] for name in ("id", "kind", "verdict", "at_ms")}, **json.loads(row["content"])}
