"""Weights & Biases: a run of a project, over the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gptsmith.base.errors import MissingExtraError
from gptsmith.train.callbacks.trackers.tracker import Tracker


class WandbTracker(Tracker):
    """A run of a Weights & Biases project, which also gets the settings."""

    def start(self, run: Path, settings: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise MissingExtraError("track.wandb", "gptsmith[wandb]") from None
        self.sent = wandb.init(project=self.name, name=run.name, dir=str(run), config=settings, resume="allow")

    def log(self, event: str, figures: dict[str, float], step: int) -> None:
        self.sent.log({f"{event}/{name}": value for name, value in figures.items()}, step=step)

    def close(self) -> None:
        self.sent.finish()
