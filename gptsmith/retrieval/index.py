"""The index of a folder: its passages and their words, in a SQLite database in the cache.

What was read of a file is kept under the hash of its content, so that a file that was moved, copied or only touched is
not read again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptsmith.base.errors import GptsmithError
from gptsmith.base.files import sha256_of
from gptsmith.base.json_text import json_text
from gptsmith.data.cache import key_of
from gptsmith.data.discover import Candidate
from gptsmith.data.files import COMPRESSIONS
from gptsmith.data.reading_versions import reading_versions
from gptsmith.retrieval.reading import read_passages
from gptsmith.retrieval.terms import match_expression, spaced

BUSY_S = 60.0
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
        path: the first of the files that have it.
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


class Index:
    """The passages of some files, in a database that several processes may use at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
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
        """A connection whose changes are kept together when the block ends, or not at all."""
        with closing(sqlite3.connect(self.path, timeout=BUSY_S)) as database, database:
            yield database

    def update(self, candidates: Sequence[Candidate], observe: Callable[[int], None] = lambda _: None) -> int:
        """Brings it up to date with the files that there are now; returns how many were read.

        Args:
            observe: called with the number of files that were looked at.
        """
        num_read = 0
        with self._connected() as database:
            known = dict(database.execute("SELECT path, signature FROM files"))
        versions: dict[tuple[str, str], list[Any]] = {}
        for number, candidate in enumerate(candidates, 1):
            path = str(candidate.file.path)
            try:
                signature = _signature(candidate.file.path)
                if known.pop(path, None) != signature:
                    num_read += self._take(candidate, signature, versions)
            except OSError:  # it has gone meanwhile, or is no longer ours to read
                known[path] = ""
            observe(number)
        self._drop(list(known))
        return num_read

    def _take(self, candidate: Candidate, signature: str, versions: dict[tuple[str, str], list[Any]]) -> bool:
        """Notes what a file holds now; returns whether it had to be read."""
        path, reader = candidate.file.path, candidate.reader
        packing = path.suffix.lower() if path.suffix.lower() in COMPRESSIONS else ""
        version = versions.setdefault((reader.kind, packing), reading_versions([candidate]))
        key = key_of(sha256_of(path), candidate.file.extension, version)
        with self._connected() as database:
            is_known = database.execute("SELECT 1 FROM contents WHERE key = ?", (key,)).fetchone()
        passages, problem = [], None
        if not is_known:
            try:
                passages = list(read_passages(candidate))
            except GptsmithError as error:
                problem = str(error).removeprefix(str(path)).lstrip(": ")
        with self._connected() as database:
            database.execute("BEGIN IMMEDIATE")
            added = database.execute("INSERT OR IGNORE INTO contents (key, problem) VALUES (?, ?)", (key, problem))
            (content,) = database.execute("SELECT id FROM contents WHERE key = ?", (key,)).fetchone()
            for number, one in enumerate(passages if added.rowcount else ()):
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
            database.execute("REPLACE INTO files VALUES (?, ?, ?)", (_storable(str(path)), signature, content))
            _drop_unused(database)
        return not is_known

    def _drop(self, paths: Sequence[str]) -> None:
        """Forgets files that are gone."""
        if paths:
            with self._connected() as database:
                database.execute("BEGIN IMMEDIATE")
                database.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in paths])
                _drop_unused(database)

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


def _drop_unused(database: sqlite3.Connection) -> None:
    """Forgets the passages of contents that no file has any more."""
    unused = "SELECT id FROM contents WHERE id NOT IN (SELECT content FROM files)"
    for id_, text, headings in database.execute(
        f"SELECT id, text, headings FROM passages WHERE content IN ({unused})"
    ).fetchall():
        values = (id_, *_words(text, json.loads(headings)))
        database.execute("INSERT INTO words (words, rowid, text, headings) VALUES ('delete', ?, ?, ?)", values)
    database.execute(f"DELETE FROM passages WHERE content IN ({unused})")
    database.execute(f"DELETE FROM contents WHERE id IN ({unused})")


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
