"""Collections: folders of texts to learn from, each with a name."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError, shown
from gptsmith.base.files import remove_folder, writing
from gptsmith.base.leftovers import remove, sweep, temporary_path
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.data.names import collection_name, folder_name
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.place import Place


@dataclass(frozen=True)
class Collection:
    """A collection.

    Attributes:
        number: of its row; it stays when it is renamed.
        home: the folder of what the studio keeps of it.
        named: where its files are, if a person named that; None if they were uploaded.
    """

    number: int
    name: str
    home: Path
    named: Path | None

    @property
    def sources(self) -> Path:
        """The folder, or the file, of its texts."""
        return self.named or self.home / "files"

    @property
    def uploading(self) -> Path:
        """The folder of files that are not whole yet."""
        return self.home / "uploading"


class Collections:
    """The collections of a studio."""

    def __init__(self, place: Place, database: Database) -> None:
        self._place, self._database = place, database
        self._adopt()

    def __iter__(self) -> Iterator[Collection]:
        """All of them, the newest first."""
        for row in self._database.rows("SELECT * FROM collections ORDER BY created DESC, id DESC"):
            yield self._collection(row)

    def get(self, name: str) -> Collection:
        """
        Raises:
            ApiError: there is none of that name.
        """
        row = self._database.row("SELECT * FROM collections WHERE name = ?", name)
        if row is None:
            raise ApiError(404, f"there is no collection {shown(name)}", code="not_found")
        return self._collection(row)

    def make(self, name: str, path: str | None = None) -> Collection:
        """A new one: empty, or of a folder or file that is there already.

        Raises:
            UserError: the name is taken or not allowed, or the path is not there or may not be used.
        """
        name = collection_name(name)
        named = None if path is None else self._named(path)
        with writing(self._place.data), self._database.transaction() as connection:
            folder = self._free(folder_name(name), connection)
            try:
                connection.execute(
                    "INSERT INTO collections (name, folder, path, created) VALUES (?, ?, ?, ?)",
                    (name, folder, None if named is None else str(named), time.time()),
                )
            except sqlite3.IntegrityError:
                raise _taken(name) from None
            home = self._place.data / folder
            for made in (home, home / "files", home / "uploading"):
                made.mkdir(mode=0o700)
        return self.get(name)

    def rename(self, name: str, new_name: str) -> Collection:
        """
        Raises:
            UserError: the name is taken or not allowed.
        """
        collection, new_name = self.get(name), collection_name(new_name)
        try:
            with self._database.transaction() as connection:
                connection.execute("UPDATE collections SET name = ? WHERE id = ?", (new_name, collection.number))
        except sqlite3.IntegrityError:
            raise _taken(new_name) from None
        return self.get(new_name)

    def delete(self, name: str) -> None:
        """Deletes it with its uploaded files and all changes; files in a folder that a person named stay."""
        collection = self.get(name)
        doomed = temporary_path(collection.home)
        with writing(collection.home), self._database.transaction() as connection:
            connection.execute("DELETE FROM collections WHERE id = ?", (collection.number,))
            # Its name goes before the row does: else, after a crash in between, it would be adopted again.
            if collection.home.exists():
                collection.home.replace(doomed)
        remove(doomed)
        self._database.scrub()

    def _collection(self, row: dict[str, Any]) -> Collection:
        named = None if row["path"] is None else Path(row["path"])
        return Collection(row["id"], row["name"], self._place.data / row["folder"], named)

    def _named(self, path: str) -> Path:
        """
        Raises:
            UserError: it is not there, or may not be used.
        """
        found = self._place.inside(os.path.expanduser(path))  # noqa: PTH111 - of an unknown user, pathlib's raises
        if not found.exists():
            raise UserError(f"{path}: there is no such folder or file")
        return found

    def _free(self, wanted: str, connection: sqlite3.Connection) -> str:
        """A name of a folder that nobody has."""
        taken = {folder.casefold() for (folder,) in connection.execute("SELECT folder FROM collections")}
        taken |= {path.name.casefold() for path in self._place.data.iterdir()}
        candidates = (wanted if number == 1 else f"{wanted}-{number}" for number in range(1, len(taken) + 3))
        return next(name for name in candidates if name.casefold() not in taken)

    def _adopt(self) -> None:
        """Makes collections of folders that the database does not know, such as those of a database that was lost: no
        file is deleted that nobody said was to be. Empty ones are cleared away."""
        sweep(self._place.data)
        kept = {row["folder"] for row in self._database.rows("SELECT folder FROM collections")}
        for path in sorted(self._place.data.iterdir()):
            if not path.is_dir() or path.name in kept or path.name.startswith("."):
                continue
            if not (path / "files").is_dir() or not any((path / "files").iterdir()):
                remove_folder(path)
                continue
            (path / "uploading").mkdir(mode=0o700, exist_ok=True)
            with self._database.transaction() as connection:
                names = {name for (name,) in connection.execute("SELECT name FROM collections")}
                numbered = (f"{path.name} {number}" for number in count(2))
                name = next(each for each in chain([path.name], numbered) if each not in names)
                connection.execute(
                    "INSERT INTO collections (name, folder, created) VALUES (?, ?, ?)", (name, path.name, time.time())
                )


def _taken(name: str) -> UserError:
    return UserError(f"there is a collection {shown(name)} already: choose another name")
