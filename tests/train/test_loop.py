"""The training loop: when it measures, saves, samples and ends."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.run.train_state import TrainState
from gptsmith.train import loop, optimizers
from gptsmith.train.batch import Batch
from gptsmith.train.loop import Hooks, train
from gptsmith.train.settings import CheckpointSettings, TrainSettings

SHAPE = {"num_layers": 1, "embed_dim": 32, "vocab_size": 20, "num_heads": 2, "head_dim": 16, "context_length": 8}


@dataclass
class World:
    """Everything that the loop asks for, and a list of what it did."""

    losses: list[float | None] = field(default_factory=list)
    """Validation losses in the order they are asked for; the last one repeats."""
    stop_at: int = 10**9
    state: TrainState = field(default_factory=TrainState)
    did: list[str] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)
    model: GPT = field(default_factory=lambda: GPT(preset("smith", **SHAPE)))

    def read(self, first: int, count: int, micro_batch_size: int) -> list[Batch]:
        assert self.model.training
        self.asked.append((first, count))
        ids = torch.randint(20, (count, 9), generator=torch.Generator().manual_seed(first))
        targets = ids[:, 1:].clone()
        targets[0, :3] = -100
        return [Batch(ids[:1, :-1], targets[:1]), Batch(ids[1:, :-1], targets[1:])]

    def validation_loss(self, whole: bool) -> float | None:
        assert not self.model.training
        self.did.append(f"{'whole' if whole else 'share'} {self.state.step}")
        return self.losses.pop(0) if len(self.losses) > 1 else self.losses[0] if self.losses else None

    def sample(self) -> None:
        assert not self.model.training
        self.did.append(f"sample {self.state.step}")

    def save(self) -> None:
        self.did.append(f"save {self.state.step}")

    def run(self, every_minutes: float = 1000.0, **settings: object) -> str:
        table = {"num_steps": 6, "batch_size": 3, "evaluate_every_steps": 100, "sample_every_steps": 100, **settings}
        parsed = TrainSettings.parse(table)
        hooks = Hooks(
            read=self.read,
            validation_loss=self.validation_loss,
            sample=self.sample,
            save=self.save,
            observe=lambda step: self.shares.append(step.lr_multiplier),
            should_stop=lambda: self.state.step >= self.stop_at,
            num_steps=lambda: parsed.num_steps,
            refused=lambda verdict, problem: self.did.append(f"{verdict} {self.state.step}"),
            roll_back=lambda: False,
            diagnosis=lambda batches: "a diagnosis",
        )
        checkpoint = CheckpointSettings(every_minutes=every_minutes)
        optimizer = optimizers.KINDS.validate("adamw").build(self.model)
        return train(self.model, optimizer, self.state, parsed, checkpoint, hooks)


def test_all_steps_are_counted_and_the_end_is_saved() -> None:
    world = World()
    assert world.run() == "finished"
    assert world.asked == [(3 * step, 3) for step in range(6)]
    state = world.state
    assert (state.step, state.num_samples, state.num_tokens) == (6, 18, 6 * (3 * 8 - 3))
    assert state.seconds > 0
    assert state.train_loss is not None
    assert len(world.shares) == 6
    assert world.did == ["share 6", "save 6"]
    assert not world.model.training


def test_a_run_goes_on_where_its_state_stands() -> None:
    world = World(state=TrainState(step=4, num_samples=12, num_tokens=1000))
    world.run()
    assert world.asked == [(12, 3), (15, 3)]
    assert world.state.num_tokens == 1000 + 2 * 21
    fresh = World()
    fresh.run()
    assert world.shares == fresh.shares[4:]


def test_a_finished_run_takes_no_step() -> None:
    world = World(state=TrainState(step=6, num_samples=18))
    assert world.run() == "finished"
    assert world.asked == []


def test_it_measures_and_samples_when_asked_and_saves_what_is_best() -> None:
    world = World(losses=[3.0, 2.0, 2.5])
    world.run(evaluate_every_steps=2, sample_every_steps=3)
    assert world.did == ["share 2", "save 2", "sample 3", "share 4", "save 4", "share 6", "save 6"]
    state = world.state
    assert (state.validation_loss, state.validation_step) == (2.5, 6)
    assert (state.best_validation_loss, state.best_step) == (2.0, 4)


def test_a_loss_that_is_reached_must_hold_on_the_whole_set() -> None:
    world = World(losses=[3.0, 1.9, 2.1, 1.9, 1.95])
    assert world.run(evaluate_every_steps=1, target_loss=2.0) == "target_reached"
    assert world.did == ["share 1", "save 1", "share 2", "whole 2", "save 2", "share 3", "whole 3", "save 3"]
    assert (world.state.step, world.state.validation_loss) == (3, 1.95)


def test_whoever_asks_to_stop_gets_the_step_saved() -> None:
    world = World(stop_at=3, losses=[1.0])
    assert world.run(evaluate_every_steps=3) == "stopped"
    assert world.did == ["save 3"]
    assert world.state.step == 3


def test_a_step_is_saved_once() -> None:
    world = World(losses=[3.0, 2.0])
    world.run(evaluate_every_steps=3)
    assert [did for did in world.did if did.startswith("save")] == ["save 3", "save 6"]


def test_time_alone_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def monotonic() -> float:
        now[0] += 10
        return now[0]

    monkeypatch.setattr(loop.time, "monotonic", monotonic)
    world = World()
    world.run(every_minutes=0.9)  # a step looks at the clock three times
    assert [did for did in world.did if did.startswith("save")] == ["save 2", "save 4", "save 6"]


def test_training_ends_early_when_validation_only_rises() -> None:
    world = World(losses=[3.0, 2.0, 2.5, 2.6, 2.7, 1.0])
    assert world.run(num_steps=60, evaluate_every_steps=2, patience_evaluations=3) == "early_stopped"
    assert (world.state.step, world.state.best_step) == (10, 4)
    world = World(losses=[3.0, 2.0, 2.5, 2.6, 1.0])
    assert world.run(num_steps=60, evaluate_every_steps=2, patience_evaluations=3) == "early_stopped"
    assert world.state.best_step == 10
    assert World(losses=[3.0, 4.0]).run(num_steps=60, evaluate_every_steps=2, patience_evaluations=None) == "finished"
