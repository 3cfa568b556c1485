"""The log of a run: one JSON object a line, appended as things happen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gptsmith.base.bounded import open_regular
from gptsmith.base.errors import UserError
from gptsmith.base.json_reader import parse_json
from gptsmith.base.json_text import json_text


class RunLog:
    """Appends events to a `.jsonl` file. Each event has an `event` name; the rest is its figures."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listeners: list[Callable[[str, dict[str, Any]], None]] = []
        """Each is called with the name and the figures of every event that is appended."""

    def append(self, event: str, **figures: Any) -> None:
        """Adds one line and hands it to the system at once, so that a crash loses nothing that was shown."""
        line = json_text({"event": event, **figures}, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a crash tore the last line: it must not take this one with it
                    line = b"\n" + line
            file.write(line)
        for listener in self.listeners:
            listener(event, figures)

    def events(self, event: str | None = None) -> list[dict[str, Any]]:
        """All events so far, or those of one name. A line torn by a crash is left out.

        Raises:
            UserError: the log cannot be read.
        """
        if not self.path.exists():
            return []
        try:
            with open_regular(self.path) as file:
                rows = rows_of(file.read())
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}") from None
        return [row for row in rows if event is None or row.get("event") == event]


def rows_of(log: bytes) -> list[dict[str, Any]]:
    """The events of a log, or of a part of it. A line that is no event, such as one torn by a crash, is left out."""
    rows = []
    # As bytes, because a torn line may end within a character, and text may hold other ends of lines than ours.
    for line in log.split(b"\n"):
        try:
            row = parse_json(line.decode("utf-8"), nan_is_null=True)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
