"""Compiled blocks in a run: where they can be, and when a plan chooses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gptsmith.base.errors import ConfigurationError
from gptsmith.model.config import GPTConfig
from gptsmith.model.presets import smith_shape
from gptsmith.train import compilable
from gptsmith.train.compilable import require_compilable
from gptsmith.train.planning import compile_trial, time_budget
from gptsmith.train.planning import plan as plan_module
from gptsmith.train.planning.compile_trial import with_compiling
from gptsmith.train.planning.plan import Corpus, Plan
from gptsmith.train.planning.throughput import Speed
from gptsmith.train.request import PretrainRequest
from gptsmith.train.resolve import resolve_settings
from gptsmith.train.run_settings import RunSettings

CPU = torch.device("cpu")
CONFIG = GPTConfig.parse({"vocab_size": 19, "context_length": 16, **smith_shape(64, 1)})
CORPUS = Corpus(num_tokens=10**7, num_bytes=4 * 10**7, difficulty=2.0)
PLAN = Plan({}, num_tokens=10**6, tokens_per_step=1024)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> dict[bool, list[float]]:
    """The seconds that plain and compiled steps seem to take."""
    times = {False: [2.0, 1.0, 1.0], True: [30.0, 0.8, 0.8]}

    def step_times(*_: Any, compiles: bool) -> list[tuple[float, float]]:
        return [(seconds / 2, seconds / 2) for seconds in times[compiles]]

    monkeypatch.setattr(compile_trial, "step_times", step_times)
    monkeypatch.setattr(compile_trial, "missing_for_compiling", lambda _: None)
    return times


def chosen(left_s: float, config: GPTConfig = CONFIG) -> Plan:
    return with_compiling(PLAN, config, CORPUS, left_s, CPU, torch.float32)[0]


def test_a_long_run_compiles_and_reads_more(steps: dict[bool, list[float]]) -> None:
    plan = chosen(3600)
    assert plan.compiles
    # 3,600 s less 30 s of compiling, at 1.25 times the pace.
    assert plan.num_tokens == pytest.approx(10**6 * (3600 - 30) / 3600 * 1.25, rel=1e-3)


def test_a_run_that_would_lose_by_it_does_not_compile(steps: dict[bool, list[float]]) -> None:
    assert chosen(600) == PLAN
    steps[True][0] = 800.0
    assert chosen(3600) == PLAN
    steps[True] = [1.0, 1.1, 1.1]
    assert chosen(36_000) == PLAN


def test_what_cannot_be_compiled_is_not_tried(
    steps: dict[bool, list[float]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experts = GPTConfig.parse({**CONFIG.plain(), "feedforward": {"kind": "experts", "num_experts": 2}})
    assert chosen(3600, experts) == PLAN

    def broken(*_: Any, **__: Any) -> list[tuple[float, float]]:
        raise RuntimeError("the compiler is\nbroken")

    monkeypatch.setattr(compile_trial, "step_times", broken)
    assert chosen(3600) == PLAN
    said = " ".join(capsys.readouterr().err.split())
    assert "nothing is compiled: PyTorch's compiler failed (RuntimeError: the compiler is broken)" in said
    monkeypatch.setattr(compile_trial, "missing_for_compiling", lambda _: "a C++ compiler")
    assert chosen(3600) == PLAN
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "a.txt"
    file.write_text("".join(f"The smith forges {number} nails.\n" for number in range(3000)), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("given", "compiles"), [((), True), (("train.compile=false",), False), (("parallel.shard=true",), None)]
)
def test_the_plan_of_a_long_run_is_recorded_in_its_settings(
    text: Path,
    steps: dict[bool, list[float]],
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[str, ...],
    compiles: bool | None,
) -> None:
    monkeypatch.setattr(time_budget, "measured_speed", lambda *_: Speed(((1e6, 1e-3, 0.0), (1e8, 1e-1, 0.0))))
    monkeypatch.setattr(plan_module, "ENOUGH_STEPS", 10**6)  # the text is short
    monkeypatch.setattr(compilable, "missing_for_compiling", lambda _: None)
    resolved = resolve_settings(PretrainRequest(sources=[text], minutes=60, settings=given))
    assert resolved.settings.train.compile == compiles
    assert resolved.origins.get("train.compile") == {True: "the plan", False: "--set", None: None}[compiles]
    assert resolved.predicted["seconds"] == pytest.approx(3600, rel=0.02)


def test_why_a_run_cannot_compile_is_said_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigurationError, match=r"lacks: install it, or leave out train\.compile"):
        resolve_settings(PretrainRequest(sources=["no such text"], settings=["train.compile=true"]))
    monkeypatch.setattr(compilable, "missing_for_compiling", lambda _: None)
    table = {
        "request": {"sources": ["a"]},
        "model": CONFIG.plain(),
        "train": {"compile": True, "num_steps": 1, "batch_size": 1},
    }
    require_compilable(RunSettings.parse(table))
    experts = {**CONFIG.plain(), "feedforward": {"kind": "experts", "num_experts": 2}}
    for change, words in (({"parallel": {"shard": True}}, "shard"), ({"model": experts}, "experts")):
        with pytest.raises(ConfigurationError, match=words):
            require_compilable(RunSettings.parse({**table, **change}))
