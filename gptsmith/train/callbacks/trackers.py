"""A run's figures in TensorBoard and Weights & Biases, while it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gptsmith.train.trackers import TrackSettings, trackers
from gptsmith.train.trainer import Callback, Trainer


class Track(Callback):
    """Sends every event of the run's log to the trackers that its settings name."""

    @contextmanager
    def running(self, trainer: Trainer) -> Iterator[None]:
        """Raises:
        MissingExtraError: the library of a tracker is not installed.
        """
        settings = trainer.settings.track if trainer.processes.is_first else TrackSettings()
        with trackers(settings, trainer.run.folder, trainer.settings.plain()) as trainer.run.log.listeners:
            yield
