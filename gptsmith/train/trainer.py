"""The trainer: the state of a training run, and the loop. Everything else is a callback."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch

from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.base.hints import shell_command
from gptsmith.base.memory import keep_freed_memory
from gptsmith.base.randomness import derived_seed
from gptsmith.base.runlog import RunLog
from gptsmith.model.device import choose_device, choose_dtype
from gptsmith.model.gpt import GPT
from gptsmith.run.checkpoint import Checkpoint
from gptsmith.run.contents import load_weights, optimizer_tensors, randomness
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.run.environment import differences, environment
from gptsmith.run.folder import Run
from gptsmith.run.sharding import new_sharded, sharded_from
from gptsmith.run.train_state import TrainState
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import Dataset, Score
from gptsmith.train.optimizers import Optimizer
from gptsmith.train.resume import resume_options
from gptsmith.train.run_settings import TrainingSettings
from gptsmith.train.schedule import lr_multiplier
from gptsmith.train.stability import ACCEPTED, Judgement, judge
from gptsmith.train.step import StepOutOfMemoryError, StepResult, train_step


class Callback:
    """Something that happens between the steps of a run. Every method may be left out.

    Callbacks are called in their order. One that calls `trainer.end` is the last that sees a step. Several processes
    call theirs together: whatever depends on a clock, on memory or on a person is decided by all of them, with the
    collective operations of `trainer.processes`.
    """

    def running(self, trainer: Trainer) -> AbstractContextManager[Any]:
        """A context in which the run is trained: what it holds is released also when training fails."""
        return nullcontext()

    def on_start(self, trainer: Trainer) -> None:
        """Called before the first step."""

    def before_step(self, trainer: Trainer) -> None:
        """Called before each step."""

    def on_out_of_memory(self, trainer: Trainer, problem: str) -> None:
        """Called when a step is tried again with smaller micro-batches."""

    def on_rejected_step(self, trainer: Trainer, step: StepResult, batches: list[Batch]) -> None:
        """Called after a step that did not move the weights, with the gradients and micro-batches that it had."""

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        """Called after each step that moved the weights, and the time it took."""

    def on_evaluation(self, trainer: Trainer, score: Score, is_best: bool) -> None:
        """Called when the validation loss was measured; `is_best` says whether it is the lowest so far."""

    def on_last_step(self, trainer: Trainer) -> None:
        """Called when no step will follow, for whatever reason."""

    def result(self, trainer: Trainer) -> dict[str, Any]:
        """Figures of the trained model that belong into the run's result."""
        return {}

    def on_end(self, trainer: Trainer, figures: dict[str, Any]) -> None:
        """Called with the result."""


class Trainer:
    """A run in training: its data, its model, its optimizer, and where it stands.

    Each of several processes has one, and only the first one writes to the run's folder.

    Attributes:
        status: why training ended: `finished`, `target_reached`, `early_stopped` or `stopped`; None until it has.
        started: the `time.monotonic()` from which the seconds of this start count.
        seconds_before: the seconds that the run had taken when it was resumed.
    """

    is_private: ClassVar[bool] = False
    """Whether it trains as `train.private` says."""

    def __init__(
        self,
        run: Run,
        settings: TrainingSettings,
        dataset: Dataset,
        processes: Processes = SINGLE_PROCESS,
        model: GPT | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """Starts from `model`, or from a new one if none is given."""
        if settings.train.private.is_on and not self.is_private:
            raise UserError("train.private is for pretrain and finetune: this training is not private")
        self.run, self.settings, self.dataset, self.processes = run, settings, dataset, processes
        self.callbacks = callbacks
        if not processes.is_first:
            run.log = RunLog(Path(os.devnull))
        train = settings.train
        keep_freed_memory()
        self.device = processes.local_device(choose_device(train.device))
        self.dtype = choose_dtype(train.dtype, self.device)
        sharded = settings.parallel.shard and processes.world_size > 1
        self.environment = environment(self.device, self.dtype, processes.world_size, sharded)
        self._seed_dropout()
        if sharded:
            size = settings.parallel.shard_size
            if model is None:
                self.model = new_sharded(settings.model, train.seed, self.device, self.dtype, size)
            else:
                self.model = sharded_from(model, self.device, self.dtype, size)
        else:
            self.model = (model or GPT(settings.model, seed=train.seed)).to(self.device)
            if self.dtype == torch.float64:
                self.model.double()
            self.model.compute_dtype = self.dtype
        self.model.use_gradient_checkpointing(train.gradient_checkpointing)
        self.model.use_compiled_blocks(bool(train.compile))
        self.optimizer: Optimizer = train.optimizer.build(self.model)
        self.state = TrainState()
        self.status: str | None = None
        self.started = time.monotonic()
        self.seconds_before = 0.0

    @property
    def num_steps(self) -> int:
        """Steps of the whole run, as planned now."""
        return self.settings.train.num_steps

    @property
    def elapsed_s(self) -> float:
        """Seconds that the run has taken until now, over all resumes, with everything that is not training."""
        return self.seconds_before + time.monotonic() - self.started

    def fit(self, started: float) -> dict[str, Any]:
        """Trains to the end, and returns the figures of the result.

        Raises:
            UserError: training cannot continue, or the disk has no room for the result.
        """
        self.started = started
        state = self.state
        tokens_before, seconds_before = state.num_tokens, state.seconds
        with ExitStack() as contexts:
            for callback in self.callbacks:
                contexts.enter_context(callback.running(self))
            self.train()
        trained_s = max(state.seconds - seconds_before, 1e-9)
        figures: dict[str, Any] = {
            "run": self.run.place,
            "objective": self.settings.train.objective.kind,
            "status": self.status,
            "step": state.step,
            "num_parameters": self.num_parameters,
            "num_tokens": state.num_tokens,
        }
        if state.train_loss is not None:
            figures["train_loss"] = state.train_loss
        for callback in self.callbacks:
            figures |= callback.result(self)
        figures |= {
            "tokens_per_second": (state.num_tokens - tokens_before) / trained_s,
            "seconds": time.monotonic() - started,
            "device": str(self.device),
            "dtype": self.environment["dtype"],
        }
        for callback in self.callbacks:
            callback.on_end(self, figures)
        return figures

    def train(self) -> None:
        """The loop: steps until all are done, or a callback ends it."""
        self.model.train()
        for callback in self.callbacks:
            callback.on_start(self)
        while self.status is None and self.state.step < self.num_steps:
            self._step()
        self.status = self.status or "finished"
        for callback in self.callbacks:
            callback.on_last_step(self)
        self.model.eval()

    def _step(self) -> None:
        """Takes the next step with the next samples of the data's order, and lets the callbacks see the result."""
        state, settings = self.state, self.settings.train
        started = time.monotonic()
        for callback in self.callbacks:
            callback.before_step(self)
        step, batches = self._take_step()
        is_accepted = step.judgement == ACCEPTED
        if is_accepted:
            state.train_loss = step.loss
            state.step += 1
            state.num_tokens += step.num_tokens
        else:
            for callback in self.callbacks:
                callback.on_rejected_step(self, step, batches)
            self.optimizer.zero_grad()
        state.num_samples += settings.batch_size
        seconds = time.monotonic() - started
        state.seconds += seconds
        for callback in self.callbacks if is_accepted else ():
            callback.after_step(self, step, seconds)
            if self.status is not None:
                break

    def _take_step(self) -> tuple[StepResult, list[Batch]]:
        """A step, and this process's micro-batches of it. If memory runs out anywhere, the micro-batches are halved:
        the whole batch, and so the result, stays the same."""
        state, settings = self.state, self.settings.train
        multiplier = lr_multiplier(state.step, self.num_steps, settings.schedule)

        def judged(loss: float, norm: float) -> Judgement:
            return judge(state, loss, norm, settings.stability)

        while True:
            batches = self.read_batches()
            try:
                step = train_step(
                    self.model,
                    settings.objective,
                    self.optimizer,
                    batches,
                    multiplier,
                    self.processes,
                    judged,
                    settings.max_gradient_norm,
                )
                return step, batches
            except StepOutOfMemoryError as error:
                may_retry = error.may_retry
            del batches
            self._halve_micro_batch_size(may_retry)

    def read_batches(self) -> list[Batch]:
        """This process's micro-batches of the next step: a pure function of the seed and the number of samples read."""
        num_samples = self.settings.train.batch_size // self.processes.world_size
        first_sample = self.state.num_samples + self.processes.rank * num_samples
        return self.dataset.batches(self.model, first_sample, num_samples, self.micro_batch_size, self.processes)

    @property
    def micro_batch_size(self) -> int:
        """Samples per forward pass."""
        settings = self.settings.train
        share = settings.batch_size // self.processes.world_size
        return min(self.state.micro_batch_size or settings.micro_batch_size or share, share)

    def _halve_micro_batch_size(self, may_retry: bool) -> None:
        size = self.micro_batch_size
        problem = f"memory is too small for {size} windows at a time"
        if not may_retry:
            raise UserError(f"{problem}: set a smaller train.micro_batch_size")
        if size == 1:
            raise UserError(
                "memory is too small for one window of this model: set a smaller model.context_length or --params"
            )
        self.state.micro_batch_size = size // 2
        for callback in self.callbacks:
            callback.on_out_of_memory(self, problem)

    def end(self, status: str) -> None:
        """Ends training after this step."""
        self.status = status

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continues from a checkpoint; names what has changed in the environment since, because bits depend on it."""
        self.restore(checkpoint)
        self.state = checkpoint.train_state()
        self.seconds_before = max(self.state.elapsed_seconds, self.state.seconds)
        if changed := differences(checkpoint.environment(), self.environment):
            note(f"resuming is correct, but not bit for bit equal to an uninterrupted run: {'; '.join(changed)}")

    def restore(self, checkpoint: Checkpoint) -> None:
        """Loads weights, optimizer states and randomness of a checkpoint."""
        load_weights(self.model, checkpoint)
        self.optimizer.load_state(optimizer_tensors(checkpoint))
        own = randomness(checkpoint).get(randomness_name(self.processes.rank))
        if own is None:
            self._seed_dropout(checkpoint.step)
        else:
            torch.set_rng_state(own)

    def _seed_dropout(self, step: int = 0) -> None:
        """Seeds dropout, differently in each process, because each reads other windows."""
        seed, rank = self.settings.train.seed, self.processes.rank
        torch.manual_seed(derived_seed(seed, "dropout", rank, step) if rank else seed)

    @property
    def num_parameters(self) -> int:
        return self.model.num_parameters

    @property
    def resume_command(self) -> str:
        """The command that resumes the run."""
        return shell_command(self.settings.made_by, "--resume", self.run.place, *resume_options())


def randomness_name(rank: int) -> str:
    """The name of a process's generator state in a checkpoint."""
    return f"cpu.{rank}" if rank else "cpu"
