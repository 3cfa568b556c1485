"""How far a process is, for another program: a JSON file that the environment names."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from gptsmith.base.json_text import json_text
from gptsmith.base.notices import notice_of

PROGRESS_FILE = "GPTSMITH_PROGRESS"
"""The variable that names the file. Its fields: words, fraction (of 1), figures, seconds_left (or null)."""
EVERY_S = 0.5


class ProgressFile:
    """The progress of one piece of work, written at most twice a second. A reader sees a whole file or none."""

    def __init__(self, path: Path, words: str) -> None:
        self.path, self.words = path, words
        self._begun: tuple[float, float] | None = None
        self._written = float("-inf")
        self.write(0.0, 1.0)

    def write(self, done: float, total: float, figures: str = "") -> None:
        """Says that `done` of `total` is done."""
        now = time.monotonic()
        fraction = min(1.0, max(0.0, done / total)) if total > 0 else 0.0
        if self._begun is None and done > 0:  # what was done before this process began took none of its time
            self._begun = now, fraction
        if now - self._written < EVERY_S:
            return
        self._written = now
        told = {
            "words": self.words,
            "fraction": fraction,
            "figures": figures,
            "seconds_left": self._left(now, fraction),
        }
        # Not made durable: a crash of the machine ends the work as well.
        with suppress(OSError):
            temporary = self.path.with_name(f"{self.path.name}.next")
            temporary.write_text(json_text(told), encoding="utf-8")
            temporary.replace(self.path)

    def _left(self, now: float, fraction: float) -> float | None:
        """The seconds left at the pace so far; None while that is not known."""
        begun, before = self._begun or (now, fraction)
        if fraction <= before or now - begun < 1:
            return None
        return round((now - begun) * (1 - fraction) / (fraction - before), 1)


def tell_problem(error: Exception) -> None:
    """Writes why the work ended into the file that the environment names: `problem`, with the code and the values of
    what it says. Nothing of an error that has none."""
    path, problem = os.environ.get(PROGRESS_FILE), notice_of(error)
    if path and problem is not None:
        with suppress(OSError):
            Path(path).write_text(json_text({"problem": problem}), encoding="utf-8")


def progress_file(words: str) -> ProgressFile | None:
    """The file that the environment names; None if it names none."""
    path = os.environ.get(PROGRESS_FILE)
    return ProgressFile(Path(path), words) if path else None
