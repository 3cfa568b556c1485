"""The index of a folder: its passages and their words, in a SQLite database in the cache.

What was read of a file is kept under the hash of its content, so that a file that was moved, copied or only touched is
not read again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gptsmith.base.errors import DataError, GptsmithError
from gptsmith.base.files import sha256_of
from gptsmith.base.json_text import json_text
from gptsmith.data.cache import key_of
from gptsmith.data.discover import Candidate
from gptsmith.data.files import COMPRESSIONS
from gptsmith.data.reading_versions import reading_versions
from gptsmith.retrieval.mending import Mending
from gptsmith.retrieval.reading import PlacedPassage, read_passages
from gptsmith.retrieval.terms import match_expression, spaced

BUSY_S = 60.0
KEPT_AT_ONCE = 256
"""Files and passages that are written in one transaction."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS contents (id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, problem TEXT);
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, signature TEXT NOT NULL, content INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS files_by_content ON files (content);
CREATE TABLE IF NOT EXISTS passages (
    id INTEGER PRIMARY KEY, content INTEGER NOT NULL, number INTEGER NOT NULL, document INTEGER NOT NULL,
    headings TEXT NOT NULL, text TEXT NOT NULL, line INTEGER, byte INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS passages_by_place ON passages (content, number);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    text, headings, content = '', tokenize = "porter unicode61 remove_diacritics 2"
);
"""


@dataclass(frozen=True)
class Row:
    """A passage as the index holds it.

    Attributes:
        path: the first of the files that have it; empty if they are gone, or hold something else, since just now.
        content: the key of that file's content.
        number: its place among the passages of the file, from 0.
    """

    id: int
    content: str
    number: int
    document: int
    path: str
    headings: tuple[str, ...]
    text: str
    line: int | None
    byte: int | None


ROW = """
SELECT passages.id, contents.key, passages.number, passages.document,
    (SELECT min(path) FROM files WHERE files.content = contents.id), passages.headings, passages.text, passages.line,
    passages.byte
FROM passages JOIN contents ON contents.id = passages.content
"""
UNUSED = "SELECT id FROM contents WHERE id NOT IN (SELECT content FROM files)"


class Index:
    """The passages of some files, in a database that several processes may use at once."""

    def __init__(self, path: Path, mending: Mending | None = None) -> None:
        """
        Args:
            mending: what is read in the place of documents; the same for all that use this database.
        """
        self.path, self._mending = path, mending or Mending()
        try:
            self._create()
        except sqlite3.DatabaseError:  # damaged, and made again from the files
            for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
                name.unlink(missing_ok=True)
            self._create()

    def _create(self) -> None:
        with self._connected() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(SCHEMA)
            database.execute("SELECT count(*) FROM passages").fetchone()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection.

        Raises:
            DataError: the disk is full, or SQLite was built without FTS5.
        """
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_S)) as database:
                database.execute("PRAGMA synchronous = NORMAL")  # what is lost with the power is read again
                yield database
        except sqlite3.OperationalError as error:
            raise DataError(f"{self.path}: the index of documents cannot be used: {error}") from None

    def update(self, candidates: Sequence[Candidate], observe: Callable[[int], None] = lambda _: None) -> None:
        """Brings it up to date with the files that there are now.

        Args:
            observe: called with the number of files that were looked at.

        Raises:
            DataError: the index cannot be written.
        """
        with self._connected() as database:
            gone = dict(database.execute("SELECT path, signature FROM files"))
            read: list[_ReadFile] = []
            versions: dict[tuple[str, str], list[Any]] = {}
            for number, candidate in enumerate(candidates, 1):
                path = _storable(str(candidate.file.path))
                try:
                    signature = _signature(candidate.file.path)
                    if gone.get(path) != signature:
                        read.append(_read(database, candidate, signature, versions, self._mending))
                    gone.pop(path, None)
                except OSError:  # it has gone meanwhile, or is no longer ours to read
                    pass
                if sum(1 + len(one.passages) for one in read) >= KEPT_AT_ONCE or number == len(candidates):
                    _keep(database, read)
                    read = []
                observe(number)
            if gone or database.execute(f"{UNUSED} LIMIT 1").fetchone():
                _forget(database, list(gone))

    def counts(self) -> tuple[int, int]:
        """The number of files, and of passages."""
        with self._connected() as database:
            (num_files,) = database.execute("SELECT count(*) FROM files").fetchone()
            (num_passages,) = database.execute("SELECT count(*) FROM passages").fetchone()
        return num_files, num_passages

    def problems(self) -> dict[str, str]:
        """The files that could not be read, each with the reason."""
        with self._connected() as database:
            return dict(
                database.execute(
                    "SELECT path, problem FROM files JOIN contents ON content = id WHERE problem IS NOT NULL ORDER BY 1"
                )
            )

    def num_with(self, terms: Sequence[str]) -> list[int]:
        """The number of passages that have each of some terms."""
        with self._connected() as database:
            count = "SELECT count(*) FROM words WHERE words MATCH ?"
            return [database.execute(count, (match_expression(term),)).fetchone()[0] for term in terms]

    def best(self, terms: Sequence[str], count: int) -> list[tuple[int, float, frozenset[str]]]:
        """The passages that have any of the terms, the best first by BM25, each with its score (higher is better) and
        the terms that it has."""
        with self._connected() as database:
            expression = " OR ".join(map(match_expression, terms))
            found = database.execute(
                "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?", (expression, count)
            ).fetchall()
            marks = ", ".join("?" * len(found))
            has: dict[int, set[str]] = {rowid: set() for rowid, _ in found}
            for term in terms:
                query = f"SELECT rowid FROM words WHERE words MATCH ? AND rowid IN ({marks})"
                for (rowid,) in database.execute(query, (match_expression(term), *has)):
                    has[rowid].add(term)
        return [(rowid, score, frozenset(has[rowid])) for rowid, score in found]

    def row(self, id_: int) -> Row | None:
        """A passage; None if it is gone."""
        with self._connected() as database:
            return _row(database.execute(f"{ROW} WHERE passages.id = ?", (id_,)).fetchone())

    def around(self, content: str, number: int, reach: int) -> list[Row]:
        """A passage and its neighbours in its document, `reach` on either side; none if it is gone."""
        with self._connected() as database:
            rows = database.execute(
                f"{ROW} WHERE contents.key = ? AND passages.number BETWEEN ? AND ? ORDER BY passages.number",
                (content, number - reach, number + reach),
            ).fetchall()
        found = [row for row in map(_row, rows) if row is not None]
        middle = next((row for row in found if row.number == number), None)
        return [row for row in found if middle is not None and row.document == middle.document]


@dataclass(frozen=True)
class _ReadFile:
    """What is to be noted of a file: its passages, unless its content is known already or has a problem."""

    path: str
    signature: str
    key: str
    passages: Sequence[PlacedPassage] = ()
    problem: str | None = None
    is_known: bool = False


def _read(
    database: sqlite3.Connection,
    candidate: Candidate,
    signature: str,
    versions: dict[tuple[str, str], list[Any]],
    mending: Mending,
) -> _ReadFile:
    """A file, whose passages are read if no file of the same content was.

    Args:
        versions: those of what reads each kind of file, as far as they are known.

    Raises:
        OSError: it cannot be read.
    """
    path, reader = candidate.file.path, candidate.reader
    kind = reader.kind, path.suffix.lower() if path.suffix.lower() in COMPRESSIONS else ""
    if kind not in versions:
        versions[kind] = reading_versions([candidate])
    found = _ReadFile(
        _storable(str(path)), signature, key_of(sha256_of(path), candidate.file.extension, versions[kind])
    )
    if database.execute("SELECT 1 FROM contents WHERE key = ?", (found.key,)).fetchone():
        return replace(found, is_known=True)
    try:
        return replace(found, passages=list(read_passages(candidate, mending=mending)))
    except GptsmithError as error:
        return replace(found, problem=str(error).removeprefix(str(path)).lstrip(": "))


def _keep(database: sqlite3.Connection, files: Sequence[_ReadFile]) -> None:
    """Notes files, in one transaction."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        for file in files:
            row = database.execute("SELECT id FROM contents WHERE key = ?", (file.key,)).fetchone()
            if row is None and file.is_known:  # another process has forgotten it just now: it is read the next time
                continue
            if row is None:
                added = "INSERT INTO contents (key, problem) VALUES (?, ?)"
                content = database.execute(added, (file.key, file.problem)).lastrowid
            else:
                (content,) = row
            for number, one in enumerate(file.passages if row is None else ()):
                values = (content, number, one.document, json_text(one.headings), one.text, one.line, one.byte)
                inserted = database.execute(
                    "INSERT INTO passages (content, number, document, headings, text, line, byte) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    tuple(map(_storable, values)),
                )
                database.execute(
                    "INSERT INTO words (rowid, text, headings) VALUES (?, ?, ?)",
                    (inserted.lastrowid, *_words(one.text, one.headings)),
                )
            database.execute("REPLACE INTO files VALUES (?, ?, ?)", (file.path, file.signature, content))


def _forget(database: sqlite3.Connection, paths: Sequence[str]) -> None:
    """Forgets files, and the passages of contents that no file has."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        database.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in paths])
        for id_, text, headings in database.execute(
            f"SELECT id, text, headings FROM passages WHERE content IN ({UNUSED})"
        ).fetchall():
            values = (id_, *_words(text, json.loads(headings)))
            database.execute("INSERT INTO words (words, rowid, text, headings) VALUES ('delete', ?, ?, ?)", values)
        database.execute(f"DELETE FROM passages WHERE content IN ({UNUSED})")
        database.execute(f"DELETE FROM contents WHERE id IN ({UNUSED})")


def _words(text: str, headings: Sequence[str]) -> tuple[str, str]:
    return _storable(spaced(text)), _storable(spaced(" ".join(headings)))


def _storable(value: Any) -> Any:
    """A value without halves of surrogate pairs, which JSON can spell and no database takes."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _signature(path: Path) -> str:
    """What changes when a file is written."""
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


def _row(values: Any) -> Row | None:
    if values is None:
        return None
    id_, content, number, document, path, headings, text, line, byte = values
    return Row(id_, content, number, document, path or "", tuple(json.loads(headings)), text, line, byte)
