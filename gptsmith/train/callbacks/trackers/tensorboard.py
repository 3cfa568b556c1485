"""TensorBoard: event files in the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gptsmith.base.errors import MissingExtraError
from gptsmith.train.callbacks.trackers.tracker import Tracker


class TensorboardTracker(Tracker):
    """Event files in `tensorboard/` in the run."""

    def start(self, run: Path, settings: dict[str, Any]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise MissingExtraError("track.tensorboard", "gptsmith[tensorboard]") from None
        self.writer = SummaryWriter(str(run / "tensorboard"))

    def log(self, event: str, figures: dict[str, float], step: int) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(f"{event}/{name}", value, step)

    def close(self) -> None:
        self.writer.close()
