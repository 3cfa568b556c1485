"""A run's figures in TensorBoard and Weights & Biases, for those who ask for it: numbers only, no text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gptsmith.base.errors import MissingExtraError
from gptsmith.base.settings import Settings

Tracker = Callable[[str, dict[str, Any]], None]


class TrackSettings(Settings):
    """Where figures go besides the run folder. Nowhere, unless asked."""

    tensorboard: bool = False
    """Whether event files for TensorBoard are written, to `tensorboard/` in the run."""
    wandb: str | None = None
    """The Weights & Biases project that figures and settings are sent to, over the network."""


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
        MissingExtraError: a library that was asked for is not installed.
    """
    tracking: list[Tracker] = []
    closing: list[Callable[[], object]] = []
    if settings.tensorboard:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise MissingExtraError("track.tensorboard", "tensorboard") from None
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
            raise MissingExtraError("track.wandb", "wandb") from None
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
