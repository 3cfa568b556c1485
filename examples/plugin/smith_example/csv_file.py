"""A tracker that writes figures.csv into the run."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from gptsmith.train.callbacks.trackers.tracker import Tracker


class CsvTracker(Tracker):
    """Rows of event, step, figure and value."""

    def start(self, run: Path, settings: dict[str, Any]) -> None:
        self.file = (run / "figures.csv").open("w", encoding="utf-8", newline="")
        self.rows = csv.writer(self.file)
        self.rows.writerow(["event", "step", "figure", "value"])

    def log(self, event: str, figures: dict[str, float], step: int) -> None:
        self.rows.writerows([event, step, name, value] for name, value in figures.items())

    def close(self) -> None:
        self.file.close()
