"""A run's figures in TensorBoard and Weights & Biases, if its settings say so: numbers only, no text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gptsmith.base.errors import MissingExtraError
from gptsmith.train.settings import TrackSettings
from gptsmith.train.trainer import Callback, Trainer

Tracker = Callable[[str, dict[str, Any]], None]


class Track(Callback):
    """Sends every event of the run's log to the trackers that its settings name."""

    @contextmanager
    def running(self, trainer: Trainer) -> Iterator[None]:
        """Sends events while the block runs.

        Raises:
            MissingExtraError: the library of a tracker is not installed.
        """
        settings = trainer.settings.track if trainer.processes.is_first else TrackSettings()
        with trackers(settings, trainer.run.folder, trainer.settings.plain()) as trainer.run.log.listeners:
            yield


def _scalars(figures: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in figures.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }


@contextmanager
def trackers(settings: TrackSettings, run: Path, run_settings: dict[str, Any]) -> Iterator[list[Tracker]]:
    """Functions that take a run's events as they come, while the block runs.

    Raises:
        MissingExtraError: a tracker's library is not installed.
    """
    tracking: list[Tracker] = []
    closing: list[Callable[[], object]] = []
    if settings.tensorboard:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise MissingExtraError("track.tensorboard", "gptsmith[tensorboard]") from None
        writer = SummaryWriter(str(run / "tensorboard"))

        def to_tensorboard(event: str, figures: dict[str, Any]) -> None:
            for name, value in _scalars(figures).items():
                writer.add_scalar(f"{event}/{name}", value, figures["step"])

        tracking.append(to_tensorboard)
        closing.append(writer.close)
    if settings.wandb is not None:
        try:
            import wandb
        except ImportError:
            raise MissingExtraError("track.wandb", "gptsmith[wandb]") from None
        sent = wandb.init(project=settings.wandb, name=run.name, dir=str(run), config=run_settings, resume="allow")

        def to_wandb(event: str, figures: dict[str, Any]) -> None:
            sent.log({f"{event}/{name}": value for name, value in _scalars(figures).items()}, step=figures["step"])

        tracking.append(to_wandb)
        closing.append(sent.finish)
    try:
        yield tracking
    finally:
        tracking.clear()
        for close in closing:
            close()
