"""The log of a run: one JSON object a line, appended as things happen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class RunLog:
    """Appends events to a `.jsonl` file. Each event has an `event` name; the rest is its figures."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: str, **figures: Any) -> None:
        """Adds one line and hands it to the system at once, so that a crash loses nothing that was shown."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **figures}, ensure_ascii=False) + "\n")

    def events(self, event: str | None = None) -> list[dict[str, Any]]:
        """All events so far, or those of one name. A line torn by a crash is left out."""
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if event is None or row.get("event") == event:
                rows.append(row)
        return rows
