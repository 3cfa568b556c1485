"""Trackio: a run of a project in Trackio's own folder on this machine."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from gptsmith.base.errors import MissingExtraError
from gptsmith.train.callbacks.trackers.tracker import Tracker


class TrackioTracker(Tracker):
    """A run of a Trackio project, which also gets the settings; `trackio show` shows it."""

    def start(self, run: Path, settings: dict[str, Any]) -> None:
        try:
            import trackio
        except ImportError:
            raise MissingExtraError("track.trackio", "gptsmith[trackio]") from None
        with redirect_stdout(sys.stderr):  # it prints hints, and standard output is ours
            self.sent = trackio.init(
                project=self.name,
                name=run.name,
                config=settings,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, event: str, figures: dict[str, float], step: int) -> None:
        self.sent.log({f"{event}/{name}": value for name, value in figures.items()}, step=step)

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self.sent.finish()
