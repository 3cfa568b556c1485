"""Runs of so many minutes: what was said, what came, and the one correction in between."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.base.runlog import RunLog
from gptsmith.train import resolve, trainer
from gptsmith.train.callbacks import evaluate, more_callbacks, replan
from gptsmith.train.planning import time_budget
from gptsmith.train.planning.throughput import Speed
from gptsmith.train.trainer import Callback, Trainer
from tests.callbacks import stopped_after

FAST = Speed(((7e6, 5e-6), (1e9, 5e-4)))
SLOW = Speed(((7e6, 1e-3), (1e9, 1e-1)))
SHAPE = [
    "train.dtype=float32",
    "model.embed_dim=32",
    "model.num_layers=1",
    "model.context_length=32",
    "tokenizer.kind=bytes",
]


@pytest.fixture(autouse=True)
def a_known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_budget, "measured_speed", lambda *_: FAST)


def plan_of(run: Path) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    return plan


def test_a_plan_is_predicted_recorded_and_compared_with_the_actual_run(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    figures = gptsmith.pretrain([text], out=run, minutes=0.08, settings=SHAPE)
    plan = plan_of(run)
    assert plan["predicted"]["seconds"] == pytest.approx(4.8, rel=0.01)
    assert plan["actual"]["seconds"] == figures["seconds"]
    assert plan["actual"]["bits_per_byte"] == figures["bits_per_byte"]
    assert plan["replanned"]["num_steps"] == figures["step"]
    assert "bits_per_byte" not in plan["predicted"]  # the shape is not one that the law knows
    said = capsys.readouterr().err
    assert "planned: 0.1 minutes in all" in said
    assert "actual, of what was predicted:" in said
    assert "Plan: predicted and actual" in (run / "report.html").read_text(encoding="utf-8")


def test_the_verb_plans_and_trains_nothing(call: Callable, text: Path, tmp_path: Path) -> None:
    figures = call("plan", text, "--minutes", "2", "--json").object
    assert figures["bits_per_byte_low"] < figures["bits_per_byte"] < figures["bits_per_byte_high"]
    assert figures["bits_per_byte_high"] / figures["bits_per_byte_low"] < 1.09
    assert figures["epochs"] <= 40.01
    assert not (tmp_path / "runs").exists()
    assert call("plan", text).code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--minutes", "0"], ["0 minutes", "--minutes 10"]),
        (["--minutes", "-3"], ["-3 minutes"]),
        (["--minutes", "0.001"], ["--minutes 0.001 is too short", "is the least that works"]),
        (["--minutes", "1", "--hours", "1"], ["both given"]),
    ],
)
def test_times_that_train_nothing(call: Callable, text: Path, arguments: list[str], words: list[str]) -> None:
    refused = call("pretrain", text, *arguments)
    assert refused.code == 2
    assert all(word in refused.err for word in words)
    assert len(refused.err.strip().splitlines()) == 1 or "data:" in refused.err


def test_the_least_that_works_works(call: Callable, text: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        gptsmith.plan([text], minutes=0.001, settings=SHAPE)
    minutes = float(str(raised.value).split("about ")[1].split()[0])
    assert gptsmith.plan([text], minutes=minutes * 1.5, settings=SHAPE)["num_steps"] >= 40


class Clock(Callback):
    """A clock that a step moves by so many seconds."""

    def __init__(self, step_seconds: float) -> None:
        self.now, self.step_seconds = 1000.0, step_seconds

    def monotonic(self) -> float:
        return self.now

    def before_step(self, trainer: Trainer) -> None:
        self.now += self.step_seconds


TIMED = (trainer, evaluate, replan, resolve)
"""The modules whose clock decides what a run of so many minutes does."""


def replanned(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_seconds: float, stop_at: int = 10**9
) -> tuple[dict[str, Any], Clock]:
    """A run of two minutes whose steps take so many seconds each, by a clock of its own."""
    clock = Clock(step_seconds)
    monkeypatch.setattr(time_budget, "measured_speed", lambda *_: SLOW)
    for module in TIMED:
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    settings = [*SHAPE, "train.batch_size=2", "train.num_steps=100", "train.evaluate_every_steps=50"]
    with more_callbacks(clock), stopped_after(stop_at):
        figures = gptsmith.pretrain([text], out=tmp_path / "run", minutes=2, settings=settings, started=clock.now)
    return figures, clock


@pytest.mark.parametrize("step_seconds", [0.6, 1.2, 2.4])
def test_the_last_step_comes_in_time_whatever_the_pace(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_seconds: float
) -> None:
    figures, clock = replanned(text, tmp_path, monkeypatch, step_seconds)
    assert clock.now - 1000 == pytest.approx(120, rel=0.04)
    assert figures["step"] == pytest.approx(119 / step_seconds, rel=0.04)
    (event,) = RunLog(tmp_path / "run" / "metrics.jsonl").events("replanned")
    shares = RunLog(tmp_path / "run" / "metrics.jsonl").events("step")
    assert all(row["lr_multiplier"] == 1 for row in shares if 20 < row["step"] <= event["step"])
    assert shares[-1]["lr_multiplier"] < 0.4


def test_a_resumed_run_follows_the_recorded_plan(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures, _ = replanned(text, tmp_path, monkeypatch, 1.2, stop_at=60)
    planned = plan_of(tmp_path / "run")["replanned"]["num_steps"]
    assert (figures["status"], figures["step"]) == ("stopped", 60)
    for module in TIMED:
        monkeypatch.setattr(module, "time", time)
    done = gptsmith.pretrain(resume=tmp_path / "run")
    assert (done["status"], done["step"]) == ("finished", planned)
    assert len(RunLog(tmp_path / "run" / "metrics.jsonl").events("replanned")) == 1
