"""Saving a run's state: as often as its settings say, whenever the validation loss is the lowest, and at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.run.checkpoint import FROZEN_WEIGHTS, Checkpoint, Retention, first_good, list_checkpoints
from gptsmith.run.contents import CheckpointContents, Shards, in_host_memory, shards_of
from gptsmith.run.distributed import SINGLE_PROCESS
from gptsmith.run.folder import Run
from gptsmith.run.followed import same_checkpoint
from gptsmith.run.frozen import recorded_frozen, write_frozen
from gptsmith.run.sharding import is_sharded, local_tensor, reshard
from gptsmith.run.shared_writer import SharedCheckpointWriter
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
        retention = Retention(settings.keep, settings.keep_every_steps)
        self.saved_at = self.clock()
        self.writer: CheckpointWriter
        with ExitStack() as held:
            if is_sharded(trainer.model):
                self.background = held.enter_context(trainer.processes.in_background())
                self.writer = SharedCheckpointWriter(trainer.run.checkpoints, retention, warn, self.background)
            else:
                self.background = SINGLE_PROCESS
                self.writer = CheckpointWriter(trainer.run.checkpoints, retention, warn)
            held.enter_context(self.writer)
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
            reshard(trainer.model)
            parameters, values = dict(trainer.model.named_parameters()), trainer.optimizer.state()
            shards = shards_of(trainer.model, values)
            unchanged = {name for name, each in parameters.items() if is_frozen(each)}
            unchanged -= moved_biases(trainer.model).keys()
            contents = CheckpointContents(
                config=trainer.model.config,
                weights=_copied({name: parameters[name] for name in parameters.keys() - unchanged}, shards),
                settings=trainer.settings.plain(),
                environment=trainer.environment,
                train_state=deepcopy(trainer.state),
                optimizer=_copied(values, shards),
                randomness={randomness_name(rank): state for rank, state in enumerate(generators)},
                shards=shards,
            )
            held = [] if self.frozen else [name for name in unchanged if shards is None or shards.holds(name)]
            frozen = {name: in_host_memory(parameters[name]) for name in held}
            num_bytes = contents.num_bytes + sum(each.nbytes for each in frozen.values())
            fill = partial(self._fill, trainer.run, contents, frozen if unchanged else None)
            self.writer.save(trainer.state.step, num_bytes, fill, trainer.state.best_step)
        self.saved_at, self.saved_step = self.clock(), trainer.state.step

    def _fill(
        self, run: Run, contents: CheckpointContents, frozen: Mapping[str, Tensor] | None, folder: Path
    ) -> list[Path]:
        """Writes a checkpoint into a folder, and the frozen weights into the run's if they are not there; returns the
        files in the folder."""
        if frozen is not None and self.frozen is None:
            self.frozen = self._frozen_records(run.checkpoints, frozen, contents.shards)
        return replace(contents, frozen=self.frozen).write(folder)

    def _frozen_records(
        self, checkpoints: Path, tensors: Mapping[str, Tensor], shards: Shards | None
    ) -> dict[str, Any] | None:
        """The records of the run's files of frozen weights, which are written if none are recorded."""

        def recorded() -> dict[str, Any] | None:
            return recorded_frozen(checkpoints) if shards is None or shards.is_first else None

        def written() -> dict[str, Any]:
            if shards is None:
                return write_frozen(checkpoints, tensors)
            name = shards.file(FROZEN_WEIGHTS)
            return write_frozen(checkpoints, tensors, name, shards.parts) if shards.is_first_copy else {}

        if records := self.background.all_gather_made(recorded)[0]:
            return dict(records)
        every = self.background.all_gather_made(written)
        return {name: record for records in every for name, record in records.items()}

    def newest(self, trainer: Trainer) -> Checkpoint | None:
        """The newest checkpoint that can be read, once what is being written is durable; None if none was saved."""
        self.writer.wait()

        def found() -> Checkpoint | None:
            checkpoints = list_checkpoints(trainer.run.checkpoints)
            return first_good(checkpoints, trainer.run.folder, self.warn) if checkpoints else None

        return same_checkpoint(trainer.run, found, trainer.processes)


def is_frozen(parameter: Tensor) -> bool:
    """Whether training does not change a parameter."""
    return not parameter.requires_grad


def _copied(tensors: Mapping[str, Tensor], shards: Shards | None) -> dict[str, Tensor]:
    """Copies in the CPU's memory of tensors, or of what this process writes of them."""
    local = {name: local_tensor(each) for name, each in tensors.items() if shards is None or shards.holds(name)}
    return {name: each.detach().to("cpu", copy=True).contiguous() for name, each in local.items()}
