"""Saving a run's state: as often as its settings say, whenever the validation loss is the lowest, and at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.run.checkpoint import Checkpoint, Retention, first_good, list_checkpoints
from gptsmith.run.contents import CheckpointContents, weights
from gptsmith.run.folder import Run
from gptsmith.run.frozen import recorded_frozen, write_frozen
from gptsmith.run.sharding import is_sharded
from gptsmith.run.writer import CheckpointWriter
from gptsmith.train.balance import moved_biases
from gptsmith.train.datasets.base import Score
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer, randomness_name


class SaveCheckpoints(Callback):
    """Saves checkpoints in the background while training continues.

    Attributes:
        saved_at: the time of the last checkpoint, by `clock`; at first that of the start.
        saved_step: its step; None before the first.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, are_kept: bool = True) -> None:
        """
        Args:
            are_kept: whether a run that was stopped can be resumed from them.
        """
        self.clock, self.are_kept = clock, are_kept
        self.saved_at = clock()
        self.saved_step: int | None = None
        self.frozen: dict[str, Any] | None = None
        """The record of the run's file of frozen weights, once that is written."""

    @contextmanager
    def running(self, trainer: Trainer) -> Iterator[None]:
        """Writes checkpoints until the block ends and the last one is durable.

        Raises:
            UserError: checkpoints could not be written.
        """
        settings = trainer.settings.checkpoint

        def warn(message: str) -> None:
            trainer.run.log.append("warning", step=trainer.state.step, message=message)
            note(message, "yellow")

        self.warn = warn
        self.writer = CheckpointWriter(
            trainer.run.checkpoints, Retention(settings.keep, settings.keep_every_steps), warn
        )
        self.saved_at = self.clock()
        with self.writer:
            yield
            self.writer.wait()
            failures = self.writer.failures
            if failure := trainer.processes.broadcast(str(failures[-1]) if failures else None):
                raise UserError(failure)
        if trainer.status == "stopped" and self.are_kept:
            note(f"stopped and saved at step {trainer.state.step:,}. Resume with: {trainer.resume_command}")

    def on_evaluation(self, trainer: Trainer, score: Score, is_best: bool) -> None:
        if is_best:
            self.save(trainer)

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        settings, done = trainer.settings.checkpoint, trainer.state.step
        is_due = settings.every_steps is not None and done % settings.every_steps == 0
        is_late = trainer.processes.all_reduce_max(self.clock() - self.saved_at > settings.every_minutes * 60)
        if (is_due and self.saved_step != done) or is_late:
            self.save(trainer)

    def on_last_step(self, trainer: Trainer) -> None:
        if self.saved_step != trainer.state.step:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Copies everything that changes, and has the copy written while training continues."""
        trainer.state.elapsed_seconds = trainer.elapsed_s
        generators = trainer.processes.all_gather(torch.get_rng_state())
        if trainer.processes.is_first or is_sharded(trainer.model):
            all_weights = weights(trainer.model)
            unchanged = {name for name, each in trainer.model.named_parameters() if is_frozen(each)}
            unchanged -= moved_biases(trainer.model).keys()
            frozen = {name: all_weights[name] for name in unchanged}
            contents = CheckpointContents(
                config=trainer.model.config,
                weights=_copied({name: all_weights[name] for name in all_weights.keys() - unchanged}),
                settings=trainer.settings.plain(),
                environment=trainer.environment,
                train_state=deepcopy(trainer.state),
                optimizer=_copied(trainer.optimizer.state()),
                randomness={randomness_name(rank): state for rank, state in enumerate(generators)},
            )
            if trainer.processes.is_first:
                num_bytes = contents.num_bytes + (0 if self.frozen else sum(each.nbytes for each in frozen.values()))
                fill = partial(self._fill, trainer.run, contents, frozen)
                self.writer.save(trainer.state.step, num_bytes, fill, trainer.state.best_step)
        self.saved_at, self.saved_step = self.clock(), trainer.state.step

    def _fill(self, run: Run, contents: CheckpointContents, frozen: Mapping[str, Tensor], folder: Path) -> None:
        """Writes a checkpoint into a folder, and the frozen weights into the run's if they are not there."""
        if frozen and self.frozen is None:
            self.frozen = recorded_frozen(run.checkpoints) or write_frozen(run.checkpoints, frozen)
        replace(contents, frozen=self.frozen).write(folder)

    def newest(self, trainer: Trainer) -> Checkpoint | None:
        """The newest checkpoint that can be read, once what is being written is durable; None if none was saved."""
        self.writer.wait()
        if not trainer.processes.broadcast(bool(list_checkpoints(trainer.run.checkpoints))):
            return None
        return first_good(list_checkpoints(trainer.run.checkpoints), trainer.run.folder, self.warn)


def is_frozen(parameter: Tensor) -> bool:
    """Whether training does not change a parameter."""
    return not parameter.requires_grad


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tensors.items()}
