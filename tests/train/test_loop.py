"""The training loop: when it measures, saves, samples and ends."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gptsmith.run.distributed import SINGLE_PROCESS
from gptsmith.run.train_state import TrainState
from gptsmith.train.callbacks.throughput import Throughput
from gptsmith.train.stability import ACCEPTED
from gptsmith.train.step import StepResult
from tests.train.fakes import World


def test_all_steps_are_counted_and_the_end_is_saved(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.run() == "finished"
    assert world.read == [(3 * step, 3, 3) for step in range(6)]
    state = world.state
    assert (state.step, state.num_samples, state.num_tokens) == (6, 18, 6 * (3 * 8 - 3))
    assert state.seconds > 0
    assert state.train_loss is not None
    assert len(world.lr_multipliers) == 6
    assert world.did == ["save 6"]
    assert not world.model.training


def test_a_run_goes_on_where_its_state_stands(tmp_path: Path) -> None:
    world = World(tmp_path, state=TrainState(step=4, num_samples=12, num_tokens=1000))
    world.run()
    assert world.read == [(12, 3, 3), (15, 3, 3)]
    assert world.state.num_tokens == 1000 + 2 * 21
    fresh = World(tmp_path)
    fresh.run()
    assert world.lr_multipliers == fresh.lr_multipliers[4:]


def test_a_finished_run_takes_no_step(tmp_path: Path) -> None:
    world = World(tmp_path, state=TrainState(step=6, num_samples=18))
    assert world.run() == "finished"
    assert world.read == []


def test_it_measures_and_samples_when_asked_and_saves_what_is_best(tmp_path: Path) -> None:
    world = World(tmp_path, losses=[3.0, 2.0, 2.5])
    world.run(evaluate_every_steps=2, sample_every_steps=3)
    assert world.did == ["share 2", "save 2", "sample 3", "share 4", "save 4", "share 6", "save 6"]
    state = world.state
    assert (state.validation_loss, state.validation_step) == (2.5, 6)
    assert (state.best_validation_loss, state.best_step) == (2.0, 4)


def test_a_loss_that_is_reached_must_hold_on_the_whole_set(tmp_path: Path) -> None:
    world = World(tmp_path, losses=[3.0, 1.9, 2.1, 1.9, 1.95])
    assert world.run(evaluate_every_steps=1, target_loss=2.0) == "target_reached"
    assert world.did == ["share 1", "save 1", "share 2", "whole 2", "save 2", "share 3", "whole 3", "save 3"]
    assert (world.state.step, world.state.validation_loss) == (3, 1.95)


def test_whoever_asks_to_stop_gets_the_step_saved(tmp_path: Path) -> None:
    world = World(tmp_path, stop_at=3, losses=[1.0])
    assert world.run(evaluate_every_steps=3) == "stopped"
    assert world.did == ["save 3"]
    assert world.state.step == 3


def test_a_step_is_saved_once(tmp_path: Path) -> None:
    world = World(tmp_path, losses=[3.0, 2.0])
    world.run(evaluate_every_steps=3)
    assert [did for did in world.did if did.startswith("save")] == ["save 3", "save 6"]


def test_time_alone_saves(tmp_path: Path) -> None:
    world = World(tmp_path, seconds_per_look=40)
    world.run(every_minutes=1.5)  # each step looks at the clock once, and a save once more
    assert [did for did in world.did if did.startswith("save")] == ["save 3", "save 6"]


def test_training_ends_early_when_validation_only_rises(tmp_path: Path) -> None:
    world = World(tmp_path, losses=[3.0, 2.0, 2.5, 2.6, 2.7, 1.0])
    assert world.run(num_steps=60, evaluate_every_steps=2, patience_evaluations=3) == "early_stopped"
    assert (world.state.step, world.state.best_step) == (10, 4)
    world = World(tmp_path, losses=[3.0, 2.0, 2.5, 2.6, 1.0])
    assert world.run(num_steps=60, evaluate_every_steps=2, patience_evaluations=3) == "early_stopped"
    assert world.state.best_step == 10
    assert (
        World(tmp_path, losses=[3.0, 4.0]).run(num_steps=60, evaluate_every_steps=2, patience_evaluations=None)
        == "finished"
    )


def test_utilization_counts_all_tokens_that_are_read_not_the_targets_alone() -> None:
    throughput = Throughput()
    throughput.flops_per_token, throughput.peak_flops_per_second = 10, 1000.0
    throughput.num_read = throughput.seconds = 0.0
    read = {(8, 4): 30.0, (12, 4): 50.0}
    for num_samples in (12, 16):
        trainer: Any = SimpleNamespace(
            settings=SimpleNamespace(train=SimpleNamespace(batch_size=4)),
            dataset=SimpleNamespace(num_tokens_of=lambda *samples: read[samples]),
            state=SimpleNamespace(num_samples=num_samples, num_tokens=7, seconds=4.0),
            processes=SINGLE_PROCESS,
        )
        throughput.after_step(trainer, StepResult(1.0, 1.0, 7, ACCEPTED, 1.0), 2.0)
    assert throughput.mfu(trainer) == 80 * 10 / 4 / 1000
    assert throughput.tokens_per_second(trainer) == 7 / 4
