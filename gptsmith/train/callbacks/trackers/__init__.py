"""A run's figures in experiment trackers, if its settings say so: numbers only, no text. One file each.

The contract is `gptsmith.train.callbacks.trackers.tracker.Tracker`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.outside import classes_in, registered, registered_module
from gptsmith.train.callbacks.trackers.mlflow import MlflowTracker
from gptsmith.train.callbacks.trackers.tensorboard import TensorboardTracker
from gptsmith.train.callbacks.trackers.tracker import Tracker
from gptsmith.train.callbacks.trackers.trackio import TrackioTracker
from gptsmith.train.callbacks.trackers.wandb import WandbTracker
from gptsmith.train.settings import TrackSettings
from gptsmith.train.trainer import Callback, Trainer

KINDS: Mapping[str, type[Tracker]] = {
    "tensorboard": TensorboardTracker,
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
    "trackio": TrackioTracker,
}
"""The tracker of each setting in the group `track`."""

Listener = Callable[[str, dict[str, Any]], None]


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


def chosen(settings: TrackSettings) -> list[Tracker]:
    """The trackers that the settings name, not yet started.

    Raises:
        ConfigurationError: no installed package registers the one of `plugin`.
    """
    found = [kind(str(value)) for key, kind in KINDS.items() if (value := getattr(settings, key))]
    if settings.plugin is None:
        return found
    name, _, project = settings.plugin.partition(":")
    installed = registered(__name__)
    if name not in installed:
        known = ", ".join(installed) or "none"
        raise ConfigurationError(f"track.plugin={name}: no installed package registers such a tracker (known: {known})")
    (kind,) = classes_in(registered_module(installed[name]), Tracker)
    return [*found, kind(project or "gptsmith")]


@contextmanager
def trackers(settings: TrackSettings, run: Path, run_settings: dict[str, Any]) -> Iterator[list[Listener]]:
    """Functions that take a run's events as they come, while the block runs.

    Raises:
        MissingExtraError: a tracker's library is not installed.
    """
    with ExitStack() as started:
        tracking: list[Tracker] = []
        for tracker in chosen(settings):
            tracker.start(run, run_settings)
            started.callback(tracker.close)
            tracking.append(tracker)

        def log(event: str, figures: dict[str, Any]) -> None:
            for tracker in tracking:
                tracker.log(event, _scalars(figures), figures["step"])

        listeners: list[Listener] = [log] if tracking else []
        try:
            yield listeners
        finally:
            listeners.clear()
