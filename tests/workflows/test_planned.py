"""Runs of so many minutes: what was said, what came, and the corrections in between."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.base.hints import shell_command
from gptsmith.base.runlog import RunLog
from gptsmith.run.folder import Run
from gptsmith.run.upgrade import plan_from
from gptsmith.train import resolve, trainer
from gptsmith.train.callbacks import evaluate, more_callbacks, replan
from gptsmith.train.datasets.base import Score
from gptsmith.train.datasets.text import TextDataset
from gptsmith.train.planning import plan as plan_module
from gptsmith.train.planning import time_budget
from gptsmith.train.planning.plan import interval
from gptsmith.train.planning.recorded_plan import RecordedPlan, replan_in_words
from gptsmith.train.planning.throughput import Speed
from gptsmith.train.trainer import Callback, Trainer
from tests.callbacks import After, stopped_after

FAST = Speed(((7e6, 5e-6, 0.0), (1e9, 5e-4, 0.0)))
SLOW = Speed(((7e6, 1e-3, 0.0), (1e9, 1e-1, 0.0)))
SILENT = "train.sample_every_steps=1000"
SHAPE = [
    "train.dtype=float32",
    "model.embed_dim=16",
    "model.num_layers=1",
    "train.optimizer.kind=adamw",
    "model.context_length=32",
    "tokenizer.kind=bytes",
    "data.validation_fraction=0.01",
]


@pytest.fixture(autouse=True)
def a_known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_budget, "measured_speed", lambda *_: FAST)
    monkeypatch.setattr(plan_module, "ENOUGH_STEPS", 10**6)  # the text is short


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
    assert plan["replanned"][-1]["num_steps"] == figures["step"]
    assert "bits_per_byte" not in plan["predicted"]  # the shape is not one that the law knows
    said = capsys.readouterr().err
    assert "planned: 0.1 minutes in all" in said
    assert "actual, of what was predicted:" in said
    assert "Plan: predicted and actual" in (run / "report.html").read_text(encoding="utf-8")


def test_a_time_is_compared_with_the_plan_where_the_budget_is_longer(tmp_path: Path) -> None:
    plan = {
        "budget_seconds": 18.0,
        "predicted": {"seconds": 9.2},
        "replanned": [],
        "actual": {"seconds": 9.4, "peak_memory_bytes": None},
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    assert RecordedPlan(Run(tmp_path)).comparison() == "actual, of what was predicted: 9 s of 9 s"


def test_seconds_that_are_left_are_not_said_as_no_minutes() -> None:
    record = {"num_steps_before": 32, "num_steps": 42, "step": 28, "num_tokens_before": 32, "num_tokens": 42}
    said = replan_in_words({**record, "why": "faster", "minutes_left": 0.04})
    assert "14 more steps fit into the 2.4 s left, not 4" in said


def test_the_verb_plans_and_trains_nothing(call: Callable, text: Path, tmp_path: Path) -> None:
    figures = call("plan", text, "--minutes", "2", "--json").object
    assert figures["bits_per_byte_low"] < figures["bits_per_byte"] < figures["bits_per_byte_high"]
    low, high = interval(1.0, figures["num_tokens"])
    assert figures["bits_per_byte_high"] / figures["bits_per_byte_low"] == pytest.approx(high / low)
    assert figures["epochs"] <= 40.01
    assert not (tmp_path / "runs").exists()
    assert call("plan", text).code == 2


def test_the_plan_says_which_files_are_skipped(call: Callable, text: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(text, tmp_path / "mixed")
    (folder / "old.txt").write_bytes("Caf\xe9 noir. ".encode("latin-1") * 40)
    (folder / "photo.xyz").write_bytes(b"\0\1\2")
    with (folder / "part1.txt").open("a", encoding="utf-8") as file:
        file.write(" Write to anna.berg@example.org.")
    figures = call("plan", folder, "--minutes", "2", "--json").object
    assert figures["num_files"] == 3
    assert {Path(path).name for path in figures["skipped"]} == {"old.txt", "photo.xyz"}
    said = call("plan", folder, "--minutes", "2")
    lines = [line for line in said.err.splitlines() if "skipped" in line]
    assert "old.txt skipped" in lines[0]  # an option mends it
    assert "photo.xyz skipped" in lines[1]
    assert "skipped" not in said.out
    assert f"found in 1 of 3 documents: e-mail addresses 1; {shell_command('audit', 'TEXT')} lists them" in said.err
    assert "anna" not in said.err + said.out
    name = {"sha256": sha256((folder / "part0.txt").read_bytes()).hexdigest()}
    (tmp_path / "found.jsonl").write_text(json.dumps(name), encoding="utf-8")
    options = ("--encoding", "cp1252", "--without", tmp_path / "found.jsonl")
    figures = call("plan", folder, "--minutes", "2", *options, "--json").object
    assert (figures["num_files"], figures["num_left_out"]) == (4, 1)


def test_the_verb_warns_of_a_tokenizer_that_cannot_spell_the_text(call: Callable, text: Path, tmp_path: Path) -> None:
    backend = Backend(WordLevel({"[UNK]": 0, "old": 1, "<|done|>": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    backend.add_special_tokens(["<|done|>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|done|>"}', encoding="utf-8")
    path = f"tokenizer.path={tmp_path}"
    planned = call("plan", text, "--minutes", "2", "--set", "tokenizer.kind=huggingface", "--set", path)
    assert planned.code == 0, planned.err
    assert "the tokenizer cannot spell this text" in planned.err


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
    plan = gptsmith.plan([text], minutes=minutes * 1.5, settings=SHAPE)
    assert plan["num_steps"] >= 40
    embedding = plan["vocab_size"] * plan["embed_dim"]
    assert plan["num_active_parameters"] == plan["num_parameters"] - embedding


SCORE = TextDataset.score
TOKENS_PER_STEP = 64


class Clock(Callback):
    """A clock that a step moves by so many seconds, and an evaluation by a third of that for as many tokens."""

    def __init__(self, step_seconds: float) -> None:
        self.now, self.step_seconds = 1000.0, step_seconds

    def monotonic(self) -> float:
        return self.now

    def before_step(self, trainer: Trainer) -> None:
        self.now += self.step_seconds

    def timed(self, score: Callable[..., Score]) -> Callable[..., Score]:
        """An evaluation that takes time by this clock."""

        def scored(*arguments: Any, **named: Any) -> Score:
            result = score(*arguments, **named)
            self.now += result.num_tokens / TOKENS_PER_STEP * self.step_seconds / 3
            return result

        return scored


TIMED = (trainer, evaluate, replan, resolve)
"""The modules whose clock decides what a run of so many minutes does."""


def timed_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, stop_at: int = 10**9, **arguments: Any
) -> dict[str, Any]:
    """The figures of a start of a run by a clock of its own."""
    monkeypatch.setattr(time_budget, "measured_speed", lambda *_: SLOW)
    for module in TIMED:
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(TextDataset, "score", clock.timed(SCORE))
    with more_callbacks(clock), stopped_after(stop_at):
        return gptsmith.pretrain(**arguments, started=clock.now)


def new_run(
    text: Path, run: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, *more: str, stop_at: int = 10**9
) -> dict[str, Any]:
    """A run of two minutes whose steps take so many seconds each."""
    settings = [*SHAPE, "train.batch_size=2", "train.num_steps=100", "train.evaluate_every_steps=50", SILENT, *more]
    return timed_run(run, monkeypatch, clock, stop_at, sources=[text], out=run, minutes=2, settings=settings)


def log_of(run: Path) -> RunLog:
    return RunLog(run / "metrics.jsonl")


@pytest.mark.parametrize("step_seconds", [0.6, 1.2, 2.4])
def test_the_last_step_comes_in_time_whatever_the_pace(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_seconds: float
) -> None:
    run, clock = tmp_path / "run", Clock(step_seconds)
    figures = new_run(text, run, monkeypatch, clock)
    assert 120 * 0.95 <= clock.now - 1000 <= 120
    assert figures["step"] == pytest.approx(119 / step_seconds, rel=0.08)
    event, *_ = log_of(run).events("replanned")
    shares = log_of(run).events("step")
    assert all(row["lr_multiplier"] == 1 for row in shares if 20 < row["step"] <= event["step"])
    assert shares[-1]["lr_multiplier"] < 0.4
    assert [one["step"] for one in plan_of(run)["replanned"]] == [
        one["step"] for one in log_of(run).events("replanned")
    ]


def test_a_resumed_run_at_the_same_pace_follows_the_recorded_plan_bit_for_bit(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = new_run(text, tmp_path / "whole", monkeypatch, Clock(1.2))
    clock = Clock(1.2)
    new_run(text, tmp_path / "run", monkeypatch, clock, stop_at=60)
    clock.now += 5000  # nobody trained it
    figures = timed_run(tmp_path / "run", monkeypatch, clock, resume=tmp_path / "run")
    assert (figures["status"], figures["step"]) == ("finished", whole["step"])
    assert figures["validation_loss"] == whole["validation_loss"]
    assert figures["train_loss"] == whole["train_loss"]
    assert plan_of(tmp_path / "run")["replanned"] == plan_of(tmp_path / "whole")["replanned"]


@pytest.mark.parametrize("stop_at", [20, 80])
def test_a_run_resumed_on_a_slower_machine_keeps_to_the_time_that_is_left(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stop_at: int
) -> None:
    run, clock = tmp_path / "run", Clock(1.15)
    new_run(text, run, monkeypatch, clock, stop_at=stop_at)
    spent = clock.now - 1000
    clock.step_seconds *= 3
    before = clock.now = clock.now + 5000
    capsys.readouterr()
    figures = timed_run(run, monkeypatch, clock, resume=run)
    assert figures["status"] == "finished"
    assert 120 * 0.94 <= spent + clock.now - before <= 120
    said = capsys.readouterr().err
    assert f"{spent / 60:.1f} of the 2.0 minutes are spent, {2 - spent / 60:.1f} are left" in said
    assert "3.0 times slower" in said or stop_at == 20  # whose pace was not yet known when it was stopped
    assert "of the training is lost" in said
    assert "(planned again " in said
    *_, last = plan_of(run)["replanned"]
    assert last["num_steps"] == figures["step"]
    assert last["num_tokens"] < last["num_tokens_before"]
    rates = [row["lr_multiplier"] for row in log_of(run).events("step") if row["step"] > 38]
    assert rates == sorted(rates, reverse=True)
    assert plan_of(run)["actual"]["seconds"] == pytest.approx(spent + clock.now - before)


def test_a_pace_that_changes_again_and_again_is_planned_again_each_time(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, clock = tmp_path / "run", Clock(1.0)
    pace = After(55, lambda _: setattr(clock, "step_seconds", 3.0), once=True)
    back = After(65, lambda _: setattr(clock, "step_seconds", 0.5), once=True)
    with more_callbacks(pace, back):
        new_run(text, run, monkeypatch, clock)
    assert clock.now - 1000 == pytest.approx(118, rel=0.05)
    replans = plan_of(run)["replanned"]
    assert len(replans) >= 3
    assert {"slower", "faster"} <= {word for one in replans for word in one["why"].split()}


def test_a_run_whose_time_is_spent_ends_with_the_weights_that_it_has(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, clock = tmp_path / "run", Clock(1.2)
    late = After(60, lambda _: setattr(clock, "now", clock.now + 60), once=True)
    with more_callbacks(late):
        new_run(text, run, monkeypatch, clock, stop_at=60)
    figures = timed_run(run, monkeypatch, clock, resume=run)
    assert (figures["status"], figures["step"]) == ("finished", 60)
    said = capsys.readouterr().err
    assert "the 2 minutes are spent" in said
    assert f"--resume {run} --tokens" in said
    more = timed_run(run, monkeypatch, clock, resume=run, tokens=64 * 70)
    assert (more["status"], more["step"]) == ("finished", 70)
    assert plan_of(run)["replanned"][-1]["why"] == "given by a person"


def test_a_number_of_tokens_that_a_person_gives_takes_the_place_of_the_time(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, clock = tmp_path / "run", Clock(1.2)
    new_run(text, run, monkeypatch, clock, stop_at=60)
    clock.step_seconds = 30.0
    figures = timed_run(run, monkeypatch, clock, resume=run, tokens=64 * 75)
    assert (figures["status"], figures["step"]) == ("finished", 75)


def test_the_expected_loss_is_said_anew_when_tokens_are_cut(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, clock = tmp_path / "run", Clock(0.0)
    monkeypatch.setattr(time_budget, "measured_speed", lambda *_: FAST)
    settings = [one for one in SHAPE if not one.startswith(("model.embed_dim", "model.num_layers"))]
    pretrain = {"sources": [text], "out": run, "minutes": 0.4, "settings": settings, "params": 10}
    for module in TIMED:
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    clock.step_seconds = 1.2
    with more_callbacks(clock):
        figures = gptsmith.pretrain(**pretrain, started=clock.now)
    assert clock.now - 1000 <= 24
    plan = plan_of(run)
    record = plan["replanned"][-1]
    assert record["num_tokens"] == pytest.approx(figures["num_tokens"], rel=1e-3)
    assert record["bits_per_byte"] > record["bits_per_byte_before"]
    said = capsys.readouterr().err
    expected = f"{record['bits_per_byte']:.2f} bits per byte ({record['bits_per_byte_low']:.2f}"
    assert f"expected now: {expected}" in said
    assert "% of the training is lost" in said
    assert "planned again because" in (run / "report.html").read_text(encoding="utf-8")


def test_a_plan_that_was_made_again_once_by_an_older_version_is_read(tmp_path: Path) -> None:
    older = {"said": {"seconds": 60.0}, "replanned": {"at_step": 5, "num_steps_before": 10, "num_steps": 8}}
    assert plan_from(older)["replanned"] == [{"step": 5, "num_steps_before": 10, "num_steps": 8}]


def test_key_heads_follow_the_heads_that_are_given(text: Path) -> None:
    for more in ([], ["model.embed_dim=96"]):
        gptsmith.plan([text], minutes=2, settings=["model.num_heads=3", "tokenizer=bytes", *more])
    with pytest.raises(UserError, match=r"num_kv_heads=2 does not divide num_heads=3"):
        gptsmith.plan([text], minutes=2, settings=["model.num_heads=3", "model.attention.num_kv_heads=2"])


def test_a_plan_says_what_changes_with_a_kind(call: Callable, text: Path) -> None:
    said = call("plan", text, "--minutes", "2", "--set", "model.norm=layernorm").err
    assert "model.norm.epsilon: 1e-06 -> 1e-05 (the default of layernorm)" in said


def test_a_window_that_covers_the_context_is_said(call: Callable, text: Path) -> None:
    short = call("plan", text, "--minutes", "9e4", "--preset", "gpt3-125m", "--set", "model.context_length=256")
    assert "the same as one with full attention" in short.err
    assert "the same as" not in call("plan", text, "--minutes", "9e4", "--preset", "gpt3-125m").err


def test_a_plan_says_that_a_kind_is_slow(call: Callable, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_budget, "slow_attention_s", lambda kind, *_: 2e-9 if kind.is_slow else 0.0)
    fast = call("plan", text, "--minutes", "2", "--json").object
    answer = call("plan", text, "--minutes", "2", "--set", "model.attention=additive", "--json")
    assert "model.attention.kind=additive is several times slower than full attention" in answer.err
    slow = answer.object
    assert slow["times_slower_than_full_attention"] > 1.5
    assert "times_slower_than_full_attention" not in fast
