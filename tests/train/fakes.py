"""A trainer of a tiny model on made-up numbers, and a list of what it does."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.run.folder import Run
from gptsmith.run.train_state import TrainState
from gptsmith.train.batch import Batch
from gptsmith.train.callbacks.checkpoint import SaveCheckpoints
from gptsmith.train.callbacks.evaluate import Evaluate
from gptsmith.train.callbacks.sample import Sample
from gptsmith.train.datasets.base import Dataset, KnownAnswers, KnownText, Score
from gptsmith.train.run_settings import TrainingSettings
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer

SHAPE = {"num_layers": 1, "embed_dim": 32, "vocab_size": 20, "num_heads": 2, "head_dim": 16, "context_length": 8}


def a_batch(num_rows: int = 2, seed: int = 1) -> Batch:
    ids = torch.randint(20, (num_rows, 9), generator=torch.Generator().manual_seed(seed))
    return Batch(ids[:, :-1], ids[:, 1:])


class Numbers(Dataset):
    """Random windows, and validation losses in the order in which they are measured; the last one repeats."""

    num_samples, tokens_per_sample = 100, 8.0

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.num_validation_tokens = 100 if world.losses else 0
        self.known_text, self.known_answers = world.known_text, world.known_answers

    def batches(
        self,
        model: GPT,
        first_sample: int,
        num_samples: int,
        micro_batch_size: int,
        processes: Processes = SINGLE_PROCESS,
    ) -> list[Batch]:
        assert model.training
        self.world.read.append((first_sample, num_samples, micro_batch_size))
        return self.world.make_batches(first_sample, num_samples)

    def score(
        self,
        model: GPT,
        *,
        max_tokens: int | None = None,
        observe: Callable[[int], None] = lambda _: None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Score:
        assert not model.training
        self.world.did.append(f"{'whole' if max_tokens is None else 'share'} {self.world.state.step}")
        losses = self.world.losses
        return Score({"validation_loss": losses.pop(0) if len(losses) > 1 else losses[0]}, 100, max_tokens is None)

    def sample(self, model: GPT, seed: int) -> str:
        assert not model.training
        self.world.did.append(f"sample {seed}")
        return "text"

    def origin(self, first_sample: int, num_samples: int) -> str:
        return "nowhere"

    def description(self) -> list[str]:
        return []


class Saves(SaveCheckpoints):
    """Says what it saves and writes nothing."""

    def __init__(self, world: World) -> None:
        times = itertools.count(0.0, world.seconds_per_look)
        super().__init__(lambda: next(times))
        self.did = world.did

    def save(self, trainer: Trainer) -> None:
        self.did.append(f"save {trainer.state.step}")
        self.saved_at, self.saved_step = self.clock(), trainer.state.step


class Watch(Callback):
    """Records steps, and stops at one."""

    def __init__(self, world: World) -> None:
        self.world = world

    def on_out_of_memory(self, trainer: Trainer, problem: str) -> None:
        self.world.did.append(f"out_of_memory {trainer.state.step}")

    def on_rejected_step(self, trainer: Trainer, step: StepResult, batches: list[Batch]) -> None:
        self.world.did.append(f"{step.judgement.outcome} {trainer.state.step}")

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        self.world.lr_multipliers.append(step.lr_multiplier)
        if trainer.state.step >= self.world.stop_at:
            trainer.end("stopped")


def windows(first_sample: int, num_samples: int) -> list[Batch]:
    """Two micro-batches, whose first row has three ignored targets."""
    whole = a_batch(num_samples, seed=first_sample)
    targets = whole.targets.clone()
    targets[0, :3] = -100
    return [Batch(whole.input_ids[:1], targets[:1]), Batch(whole.input_ids[1:], targets[1:])]


@dataclass
class World:
    """Everything that a trainer meets, and a list of what it did."""

    folder: Path
    losses: list[float] = field(default_factory=list)
    known_text: KnownText | None = None
    known_answers: KnownAnswers | None = None
    stop_at: int = 10**9
    seconds_per_look: float = 0.0
    """How far the clock moves whenever the callback that saves looks at it."""
    state: TrainState = field(default_factory=TrainState)
    make_batches: Callable[[int, int], list[Batch]] = windows
    did: list[str] = field(default_factory=list)
    lr_multipliers: list[float] = field(default_factory=list)
    read: list[tuple[int, int, int]] = field(default_factory=list)
    model: GPT = field(default_factory=lambda: GPT(preset("smith", **SHAPE)))

    def run(self, processes: Processes = SINGLE_PROCESS, every_minutes: float = 1000.0, **train: Any) -> str | None:
        """Trains, and returns the status."""
        table = {
            "made_by": "pretrain",
            "model": self.model.config.plain(),
            "checkpoint": {"every_minutes": every_minutes},
            "train": {
                "num_steps": 6,
                "batch_size": 3,
                "evaluate_every_steps": 100,
                "sample_every_steps": 100,
                "dtype": "float32",
                "device": "cpu",
                "optimizer": "adamw",
                **train,
            },
        }
        callbacks = [Watch(self), Evaluate(), Sample(), Saves(self)]
        settings = TrainingSettings.parse(table)
        trainer = Trainer(Run(self.folder), settings, Numbers(self), processes, self.model, callbacks)
        trainer.state = self.state
        trainer.train()
        return trainer.status
