"""Audits of collections: jobs that look for personal data, secrets and near duplicates, and what they found."""

from __future__ import annotations

import secrets
from collections import Counter
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.data.care.left_out import json_lines
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.data.collections import Collection
from gptsmith.serve.studio.data.listing import shown_path
from gptsmith.serve.studio.data.reading import Reading
from gptsmith.serve.studio.data.recipes import Recipe
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.jobs.queue import Jobs

AROUND_CHARACTERS = 80


class Audits:
    """The last audit of each collection."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database, self._jobs = database, jobs

    def begin(self, collection: Collection, reading: Reading) -> str:
        """Queues an audit of a collection's sources; the id of its job. One that is on its way is stopped."""
        before = self._row(collection)
        self.cancel(collection)
        file = f"audit-{secrets.token_hex(6)}.found"
        arguments = [str(collection.sources), "--out", str(collection.home / file)]
        with self._database.transaction() as connection:
            job = self._jobs.add("audit", arguments, title=collection.name, lane="quick")
            connection.execute(
                "INSERT OR REPLACE INTO audits VALUES (?, ?, ?, ?)", (collection.number, job, file, reading.version)
            )
        if before is not None:
            (collection.home / before["file"]).unlink(missing_ok=True)
        return job

    def cancel(self, collection: Collection) -> None:
        """Stops the audit of a collection, if one is on its way."""
        row = self._row(collection)
        if row is not None:
            with suppress(ApiError):
                self._jobs.cancel(row["job"])

    def standing(self, collection: Collection, reading: Reading) -> dict[str, Any]:
        """How the audit of a collection stands: `state` (`none` without one, else that of its job), `job`, `progress`,
        `message`, and whether the files have changed since (`is_old`)."""
        row = self._row(collection)
        if row is None:
            return {"state": "none"}
        told = {"job": row["job"], "is_old": row["version"] != reading.version}
        try:
            job = self._jobs.get(row["job"])
        except ApiError:  # it ended long ago, and is forgotten
            is_done = (collection.home / row["file"]).exists()
            return {**told, "state": "done" if is_done else "none", "progress": None, "message": None, "notice": None}
        return {**told, **{name: job[name] for name in ("state", "progress", "message", "notice")}}

    def found(self, collection: Collection) -> list[dict[str, Any]]:
        """What the last audit found; nothing before it is done."""
        row = self._row(collection)
        path = None if row is None else collection.home / row["file"]
        return [] if path is None or not path.exists() else _found(path)

    def _row(self, collection: Collection) -> dict[str, Any] | None:
        return self._database.row("SELECT * FROM audits WHERE collection = ?", collection.number)


@lru_cache(maxsize=4)
def _found(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of findings, which is written once."""
    return [value for _, value in json_lines(path)]


def kinds(found: list[dict[str, Any]], recipe: Recipe) -> list[dict[str, Any]]:
    """The kinds of findings: how many there are, and how many documents with some are left."""
    counts = Counter(each["kind"] for each in found)
    documents: dict[str, set[str]] = {kind: set() for kind in counts}
    for each in found:
        documents[each["kind"]].add(each["sha256"])
    is_secret = {each["kind"] for each in found if each["is_secret"]}
    return [
        {
            "kind": kind,
            "count": count,
            "num_left": len(documents[kind] - recipe.changed),
            "is_secret": kind in is_secret,
        }
        for kind, count in counts.most_common()
    ]


def rows(collection: Collection, found: list[dict[str, Any]], kind: str, recipe: Recipe) -> list[dict[str, Any]]:
    """The findings of a kind for a list, without what was found."""
    return [
        {
            "number": number,
            "kind": each["kind"],
            "file": shown_path(collection, each["file"]),
            "line": each["line"],
            "document": each["sha256"],
            "is_excluded": each["sha256"] in recipe.without,
            "is_edited": each["sha256"] in recipe.edits,
            "similarity": each.get("similarity"),
            "of": _other(collection, each),
        }
        for number, each in enumerate(found)
        if each["kind"] == kind
    ]


def _other(collection: Collection, each: dict[str, Any]) -> dict[str, Any] | None:
    """The document that another one is a copy of."""
    of = each.get("of")
    if of is None:
        return None
    return {"file": shown_path(collection, of["file"]), "line": of["line"], "document": of["sha256"]}


def in_its_place(found: list[dict[str, Any]], number: int, text: str) -> dict[str, str]:
    """What was found, with what stands around it in the text of its document.

    Raises:
        ApiError: there is no finding of that number.
    """
    if number >= len(found):
        raise ApiError(404, "there is no such finding", code="not_found")
    sought = str(found[number]["text"])
    place = text.find(sought)
    if place < 0 or not sought:
        return {"before": "", "text": sought, "after": ""}
    return {
        "before": text[max(0, place - AROUND_CHARACTERS) : place],
        "text": sought,
        "after": text[place + len(sought) : place + len(sought) + AROUND_CHARACTERS],
    }


def documents_of(found: list[dict[str, Any]], kind: str, recipe: Recipe) -> list[str]:
    """The documents with findings of a kind that are not taken out yet.

    Raises:
        UserError: there are none.
    """
    documents = {each["sha256"] for each in found if each["kind"] == kind} - recipe.without
    if not documents:
        raise UserError("no document of this kind is left")
    return sorted(documents)
