"""Steps that are rejected, and recovery from them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.base.runlog import RunLog
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.run.train_state import TrainState
from gptsmith.train import step
from gptsmith.train.callbacks import more_callbacks
from gptsmith.train.stability import StabilitySettings, judge, nonfinite_modules, nonfinite_parameters
from gptsmith.train.trainer import Trainer
from tests.callbacks import After
from tests.workflows.conftest import SMALL, write_text

SETTINGS = StabilitySettings(window_steps=10)


def after(losses: list[float]) -> TrainState:
    state = TrainState()
    for loss in losses:
        assert judge(state, loss, 1.0, SETTINGS)[0] == "accept"
    return state


@pytest.mark.parametrize(
    ("loss", "norm", "outcome"),
    [
        (2.0, 1.0, "accept"),
        (2.4, 1e6, "accept"),
        (math.nan, 1.0, "skip"),
        (math.inf, 1.0, "skip"),
        (2.0, math.nan, "skip"),
        (2.0, math.inf, "skip"),
        (9.0, 1.0, "skip"),
    ],
)
def test_which_steps_are_rejected(loss: float, norm: float, outcome: str) -> None:
    state = after([2.0 + 0.01 * (n % 3) for n in range(12)])
    assert judge(state, loss, norm, SETTINGS)[0] == outcome
    assert all(math.isfinite(value) for value in state.recent_losses)
    assert len(state.recent_losses) == 10


def test_a_loss_that_falls_fast_or_jumps_early_is_no_spike() -> None:
    after([6.0, 9.0, 4.0, 3.0])
    after([10 - 0.3 * n for n in range(30)])
    after([2.0, 2.4] * 30)


def test_steps_are_skipped_then_rolled_back_then_diverged() -> None:
    state = after([2.0] * 12)
    outcomes = [judge(state, math.nan, 1.0, SETTINGS)[0] for _ in range(12)]
    assert outcomes == ["skip", "skip", "roll_back"] * 3 + ["skip", "skip", "diverged"]
    state = after([2.0] * 12)
    for _ in range(5):
        assert [judge(state, math.nan, 1.0, SETTINGS)[0] for _ in range(3)][-1] == "roll_back"
        for _ in range(10):
            judge(state, 2.0, 1.0, SETTINGS)


def test_the_layer_and_parameter_that_are_not_finite_are_named() -> None:
    model = GPT(preset("smith", num_layers=3, embed_dim=32, vocab_size=20, num_heads=2, head_dim=16))
    with torch.no_grad():
        model.blocks[1].feedforward.gate.weight[0, 0] = math.nan
    with nonfinite_modules(model) as names:
        model(torch.zeros(1, 4, dtype=torch.long))
    assert names[0] == "blocks.1.feedforward.gate"
    assert nonfinite_parameters(model) == (["blocks.1.feedforward.gate.weight"], [])
    assert all(not module._forward_hooks for module in model.modules())


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "smiths")


def trained(text: Path, run: Path, *settings: str) -> dict[str, Any]:
    table = [
        *SMALL,
        "train.dtype=float32",
        "train.num_steps=40",
        "checkpoint.every_steps=10",
        "train.stability.window_steps=10",
        *settings,
    ]
    return gptsmith.pretrain([text], out=run, settings=table)


def events(run: Path, event: str) -> list[dict[str, Any]]:
    return RunLog(run / "metrics.jsonl").events(event)


def with_losses(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Lets `change(call, loss)` decide what loss each step is said to have."""
    accumulate = step.accumulate
    calls = iter(range(10**6))
    monkeypatch.setattr(step, "accumulate", lambda *of: change(next(calls), accumulate(*of)))


def test_a_single_bad_step_is_skipped_and_its_data_passed_over(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_losses(monkeypatch, lambda call, loss: math.nan if call == 12 else loss)
    figures = trained(text, tmp_path / "run")
    (skipped,) = events(tmp_path / "run", "skip")
    assert (skipped["step"], skipped["sample"], skipped["problem"]) == (12, 12 * 8, "the loss is nan")
    assert (figures["step"], figures["status"]) == (40, "finished")
    assert figures["validation_loss"] < 2


def test_bad_steps_in_a_row_roll_back_to_the_checkpoint(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_losses(monkeypatch, lambda call, loss: math.inf if call in (25, 26, 27) else loss)
    figures = trained(text, tmp_path / "run")
    assert [row["step"] for row in events(tmp_path / "run", "skip")] == [25, 25]
    assert [row["step"] for row in events(tmp_path / "run", "roll_back")] == [20]
    assert figures["step"] == 40
    assert [row["step"] for row in events(tmp_path / "run", "step")] == [10, 20, 30, 40]


def test_weights_that_are_lost_again_and_again_stop_the_run_with_a_diagnosis(text: Path, tmp_path: Path) -> None:
    def poison(trainer: Trainer) -> None:
        with torch.no_grad():
            trainer.model.blocks[1].attention.value.weight[3] = math.nan

    with more_callbacks(After(22, poison)), pytest.raises(UserError) as raised:
        trained(text, tmp_path / "run")
    for word in ("the loss is nan", "samples", "part", "bytes", "blocks.1.attention.value", "--resume"):
        assert word in str(raised.value)
    assert [row["step"] for row in events(tmp_path / "run", "roll_back")] == [20, 20, 20]
    assert gptsmith.pretrain(resume=tmp_path / "run")["status"] == "finished"


def test_memory_that_runs_out_halves_the_micro_batch_and_keeps_the_step(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulate = step.accumulate

    def small(model: GPT, objective: Any, batches: Any, *more: Any) -> float:
        if any(len(batch.input_ids) > 2 for batch in batches):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory")
        return accumulate(model, objective, batches, *more)

    whole = trained(text, tmp_path / "whole", "train.dtype=float64", "model.dropout=0")
    monkeypatch.setattr(step, "accumulate", small)
    halved = trained(text, tmp_path / "halved", "train.dtype=float64", "model.dropout=0")
    assert halved["validation_loss"] == pytest.approx(whole["validation_loss"], abs=1e-6)
    assert [row["problem"] for row in events(tmp_path / "halved", "out_of_memory")] == [
        "memory is too small for 8 windows at a time",
        "memory is too small for 4 windows at a time",
    ]


def test_memory_that_is_too_small_for_one_window_is_said(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(step, "accumulate", fails)
    with pytest.raises(UserError, match="too small for one window"):
        trained(text, tmp_path / "run")
    monkeypatch.setattr(step, "accumulate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trained(text, tmp_path / "other")
