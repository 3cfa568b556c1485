"""What a studio keeps: a SQLite database, whose form grows by migrations."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.json_text import json_text

MIGRATIONS = Path(__file__).with_name("migrations")
BUSY_S = 10.0


class Database:
    """A SQLite database with a write-ahead log. What a transaction wrote is on the disk when it has ended.

    Each file of `migrations/` is applied once, in the order of their names.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UserError: it cannot be opened, or a newer version made it.
        """
        self._lock, self._path = threading.RLock(), path
        try:
            self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            self._connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate(path)
        except sqlite3.Error as error:
            raise UserError(f"{path} cannot be opened: {error}") from None

    def _migrate(self, path: Path) -> None:
        files = sorted(MIGRATIONS.glob("*.sql"))
        with self.transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY)")
            applied = {name for (name,) in connection.execute("SELECT name FROM migrations")}
            if newer := sorted(applied - {file.stem for file in files}):
                raise UserError(f"{path} was written by a newer version ({newer[-1]}): upgrade gptsmith")
            for file in files:
                if file.stem not in applied:
                    for statement in _statements(file.read_text(encoding="utf-8")):
                        connection.execute(statement)
                    connection.execute("INSERT INTO migrations VALUES (?)", (file.stem,))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A block whose writes are all done, or none. One within another is a part of it.

        Raises:
            UserError: the disk is full, or the system does not allow it.
        """
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:  # SQLite has not undone it itself
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise UserError(f"{self._path.name} cannot be written: {error}") from None
                raise

    def scrub(self) -> None:
        """Takes what was deleted out of the files, too. (SQLite's `secure_delete` is not enough: where rows move from
        one page to another, it leaves copies of them.)

        Raises:
            UserError: there is no room for the copy that it makes.
        """
        try:
            with self._lock:
                for statement in ("PRAGMA temp_store=MEMORY", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                    self._connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            raise UserError(
                f"what was deleted is not listed any more, but still in {self._path.name} ({error}): make room, and "
                "delete something again"
            ) from None

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """The rows that a query gives."""
        with self._lock:
            return [dict(row) for row in self._connection.execute(query, values)]

    def row(self, query: str, *values: Any) -> dict[str, Any] | None:
        """The first row that a query gives; None if there is none."""
        return next(iter(self.rows(query, *values)), None)

    def setting(self, name: str) -> Any:
        """A setting of the studio; None if it is not set."""
        row = self.row("SELECT value FROM settings WHERE name = ?", name)
        return None if row is None else json.loads(row["value"])

    def set(self, name: str, value: Any) -> None:
        """Keeps a setting."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json_text(value)))

    def close(self) -> None:
        """Ends its use."""
        with self._lock:
            self._connection.close()


def _statements(text: str) -> Iterator[str]:
    """The statements of a file."""
    begun = ""
    for line in text.splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            yield begun
            begun = ""
