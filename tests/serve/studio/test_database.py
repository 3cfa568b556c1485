"""What a studio keeps: whole transactions, migrations once, nothing of a newer version."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gptsmith.base.errors import UserError
from gptsmith.serve.studio import database
from gptsmith.serve.studio.database import Database

WRITER = """
import sys
from pathlib import Path
from gptsmith.serve.studio.database import Database
kept = Database(Path(sys.argv[1]))
count = int(kept.row("SELECT COUNT(*) AS n FROM settings")["n"]) // 2
while True:
    with kept.transaction() as connection:
        connection.execute("INSERT INTO settings VALUES (?, '1')", (f"{count}a",))
        connection.execute("INSERT INTO settings VALUES (?, '2')", (f"{count}b",))
    print(count, flush=True)
    count += 1
"""


def test_a_transaction_is_whole_or_nothing(tmp_path: Path) -> None:
    kept = Database(tmp_path / "one.sqlite")

    def write() -> None:
        with kept.transaction() as connection:
            connection.execute("INSERT INTO settings VALUES ('a', '1')")
            raise ValueError

    with pytest.raises(ValueError):
        write()
    assert kept.rows("SELECT * FROM settings") == []
    kept.close()


def test_migrations_are_applied_once_and_none_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_a.sql").write_text("CREATE TABLE a (x TEXT);\nINSERT INTO a VALUES ('; quoted');\n")
    monkeypatch.setattr(database, "MIGRATIONS", folder)
    Database(tmp_path / "one.sqlite").close()
    (folder / "0002_b.sql").write_text("ALTER TABLE a ADD COLUMN y TEXT;\n")
    again = Database(tmp_path / "one.sqlite")
    assert again.rows("SELECT * FROM a") == [{"x": "; quoted", "y": None}]
    again.close()
    (folder / "0002_b.sql").unlink()
    with pytest.raises(UserError, match="newer version"):
        Database(tmp_path / "one.sqlite")


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(0)
    path = tmp_path / "one.sqlite"
    acknowledged = -1
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(chance.random() / 50)
            os.kill(writer.pid, signal.SIGKILL)
            # The kill may have cut off the last number.
            lines = [first, *writer.stdout.read().splitlines(keepends=True)]
        acknowledged = max(acknowledged, *(int(line) for line in lines if line.endswith("\n")))
        kept = Database(path)
        names = {row["name"] for row in kept.rows("SELECT name FROM settings")}
        kept.close()
        assert {f"{number}{half}" for number in range(acknowledged + 1) for half in "ab"} <= names
        assert len(names) % 2 == 0


def test_what_was_deleted_is_scrubbed_from_the_files(tmp_path: Path) -> None:
    for trial in range(2):  # with the first, secure_delete alone leaves a copy
        chance = random.Random(trial)
        kept = Database(tmp_path / f"{trial}.sqlite")
        rows = {f"{chance.getrandbits(64):x}": chance.choice([1, 3, 20, 100, 700]) for _ in range(300)}
        with kept.transaction() as connection:
            values = [(name, f"[{name}]" * count) for name, count in rows.items()]
            connection.executemany("INSERT INTO settings VALUES (?, ?)", values)
        gone = set(chance.sample(list(rows), 150))
        with kept.transaction() as connection:
            connection.executemany("DELETE FROM settings WHERE name = ?", [(name,) for name in gone])
        kept.scrub()
        data = b"".join(path.read_bytes() for path in tmp_path.glob(f"{trial}.sqlite*"))
        kept.close()
        assert {name for name in rows if f"[{name}]".encode() in data} == rows.keys() - gone
