"""Recipes: what a person changed of a collection by hand, in the order in which it was done. The sources stay as they
are, and each change can be undone by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

from gptsmith.base.json_text import json_text
from gptsmith.data.cache import key_of
from gptsmith.data.care.findings import all_finders
from gptsmith.data.care.redaction import Redaction
from gptsmith.retrieval.mending import Mending, redacted
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.data.collections import Collection
from gptsmith.serve.studio.database import Database

Kind = Literal["exclude", "edit", "redact"]


def name_of(text: str) -> str:
    """What a document is called: the SHA-256 of its text."""
    return sha256(text.encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True)
class Edit:
    """What stands in the place of a document.

    Attributes:
        text: its text.
        record: the record that it is, if it stands in the place of one.
    """

    text: str
    record: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """What it is called as a document."""
        return name_of(self.text)


@dataclass(frozen=True)
class Recipe:
    """What all changes together come to. Documents are named by the SHA-256 of their text in the sources.

    Attributes:
        without: the documents that are not learnt from.
        edits: the documents in whose place others stand.
        redacts: whether findings are replaced by placeholders.
    """

    without: frozenset[str] = frozenset()
    edits: Mapping[str, Edit] = field(default_factory=dict)
    redacts: bool = False

    def reads(self, document: str) -> bool:
        """Whether a document of the sources, or what stands in its place, is read."""
        edit = self.edits.get(document)
        return (document if edit is None else edit.name) not in self.without

    def mending(self) -> Mending:
        """The same for those who search documents: what is read in the place of each."""
        redaction = Redaction(all_finders() if self.redacts else ())

        def mended(text: str) -> str | None:
            edit = self.edits.get(name_of(text))
            text = text if edit is None else edit.text
            return None if name_of(text) in self.without else redacted(text, redaction)

        is_changed = self.changed or self.redacts
        edited = {name: edit.text for name, edit in self.edits.items()}
        return Mending(key_of(sorted(self.without), edited, redaction.key()), mended) if is_changed else Mending()

    @property
    def changed(self) -> frozenset[str]:
        """The documents that are not read as they are in the sources."""
        return self.without | self.edits.keys()


class Recipes:
    """The changes to the collections of a studio."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, collection: Collection, kind: Kind, value: Mapping[str, Any]) -> int:
        """Keeps a change; its number.

        Args:
            value: of `exclude` the `documents` and why, for the page; of `edit` the `document` and the fields of its
                `Edit`; of `redact` whether it `is_on`.
        """
        with self._database.transaction() as connection:
            row = connection.execute(
                "INSERT INTO changes (collection, kind, value, created) VALUES (?, ?, ?, ?)",
                (collection.number, kind, json_text(dict(value)), time.time()),
            )
            return int(row.lastrowid or 0)

    def undo(self, collection: Collection, number: int) -> None:
        """Takes a change back, and leaves all others.

        Raises:
            ApiError: there is none of that number.
        """
        with self._database.transaction() as connection:
            row = connection.execute("DELETE FROM changes WHERE id = ? AND collection = ?", (number, collection.number))
            if not row.rowcount:
                raise ApiError(404, "this change was undone already", code="not_found")

    def changes(self, collection: Collection) -> list[dict[str, Any]]:
        """The changes, in order: number, kind, value, created."""
        rows = self._database.rows("SELECT * FROM changes WHERE collection = ? ORDER BY id", collection.number)
        return [
            {"number": row["id"], "kind": row["kind"], "value": json.loads(row["value"]), "created": row["created"]}
            for row in rows
        ]

    def recipe(self, collection: Collection) -> Recipe:
        """What they come to; of one document the last edit counts, and what is excluded is not edited."""
        without, edits, redacts = set[str](), dict[str, Edit](), False
        for change in self.changes(collection):
            value = change["value"]
            if change["kind"] == "exclude":
                without.update(value["documents"])
            elif change["kind"] == "edit":
                edits[value["document"]] = Edit(value["text"], value["record"])
            else:
                redacts = value["is_on"]
        edits = {name: edit for name, edit in edits.items() if name not in without}
        return Recipe(frozenset(without), edits, redacts)
