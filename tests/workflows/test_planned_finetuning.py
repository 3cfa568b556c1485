"""Fine-tuning of so many minutes: the plan before it, the time that it keeps to, and the memory that it fits into."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.train import trainer
from gptsmith.train.callbacks import evaluate, more_callbacks, replan
from gptsmith.train.datasets.examples import ExampleDataset
from gptsmith.train.finetuning import prepare_job
from gptsmith.train.planning import finetuning_plan, measured_step
from gptsmith.train.planning.measured_step import MeasuredStep
from gptsmith.train.request import FinetuneRequest
from gptsmith.train.trainer import Callback, Trainer
from gptsmith.workflows import finetune
from gptsmith.workflows.finetune import requested_table
from tests.callbacks import stopped_after

from .conftest import FLOAT32, SMALL, write_text

WORDS = ["The", "smith", "forges", "a", "nail", "of", "iron", "and", "steel"]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases")
    settings = [*SMALL, "model.context_length=96", "train.num_steps=6", "train.batch_size=4"]
    return Path(gptsmith.pretrain([write_text(folder / "smiths")], out=folder / "base", settings=settings)["run"])


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Examples of each shape."""
    folder, chance = tmp_path_factory.mktemp("data"), random.Random(0)

    def text() -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(3, 9))) + "."

    makers: dict[str, Callable[[int], dict[str, Any]]] = {
        "sft": lambda n: {"question": f"{n}: {text()}", "answer": text()},
        "classification": lambda n: {"text": f"{n} {text()}", "label": chance.choice(["iron", "steel"])},
        "dpo": lambda n: {"prompt": f"{n} {text()}", "chosen": text(), "rejected": text()},
        "kto": lambda n: {"prompt": f"{n} {text()}", "completion": text(), "label": chance.random() < 0.5},
    }
    for name, make in makers.items():
        lines = (json.dumps(make(number)) + "\n" for number in range(200))
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return {name: folder / f"{name}.jsonl" for name in makers}


def plan_of(run: Path) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    return plan


class Clock(Callback):
    """A clock that a step moves by so many seconds."""

    def __init__(self, step_s: float) -> None:
        self.now, self.step_s = 1000.0, step_s

    def before_step(self, trainer: Trainer) -> None:
        self.now += self.step_s


def timed(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, planned_s: float, *, evaluation_s_per_token: float = 0.0
) -> None:
    """Measures steps as if a sample took a quarter of `planned_s`, and lets time pass by a clock."""
    measured = MeasuredStep(planned_s / 4, 0.0, evaluation_s_per_token)
    monkeypatch.setattr(finetuning_plan, "measure_step", lambda *_: measured)
    for module in (trainer, evaluate, replan, finetune, finetuning_plan):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(finetuning_plan, "peak_memory_bytes", lambda: 1)


QUICK = [FLOAT32, "train.batch_size=4", "train.evaluate_every_steps=1000", "train.sample_every_steps=1000"]


@pytest.mark.parametrize("step_s", [0.5, 2.0])
def test_the_last_step_comes_in_time_whatever_the_pace(
    base: Path, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    clock = Clock(step_s)
    timed(monkeypatch, clock, 1.0)
    with more_callbacks(clock):
        figures = gptsmith.finetune(base, [data["dpo"]], minutes=1, epochs=2, out=tmp_path / "run", settings=QUICK)
    plan = plan_of(tmp_path / "run")
    assert plan["predicted"]["num_steps"] == pytest.approx(58, abs=2)
    assert plan["max_steps"] == 80  # two epochs of 160 examples, at 4 a step: more is not useful
    assert figures["step"] == pytest.approx(min(58 / step_s, 80), abs=3)
    assert clock.now - 1000 <= 60
    assert plan["actual"]["seconds"] == figures["seconds"]


def test_a_run_that_is_stopped_keeps_to_the_time_that_is_left(
    base: Path, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, run = Clock(1.0), tmp_path / "run"
    timed(monkeypatch, clock, 1.0)
    arguments: dict[str, Any] = {"minutes": 1, "out": run, "settings": QUICK, "epochs": 9}
    with more_callbacks(clock), stopped_after(15):
        gptsmith.finetune(base, [data["dpo"]], **arguments)
    clock.now, clock.step_s = clock.now + 5000, 3.0
    spent, before = 15.0, clock.now
    with more_callbacks(clock):
        figures = gptsmith.finetune(base, [data["dpo"]], **arguments)  # the same call again
    assert figures["status"] == "finished"
    assert 60 * 0.85 <= spent + clock.now - before <= 60
    assert "slower" in plan_of(run)["replanned"][-1]["why"]


@pytest.mark.parametrize(
    ("shape", "objective"),
    [("sft", "sft"), ("sft", "grpo"), ("dpo", "dpo"), ("dpo", "reward_model"), ("kto", "kto"), ("classification",) * 2],
)
def test_the_verb_plans_every_objective_and_trains_nothing(
    call: Callable, base: Path, data: dict[str, Path], tmp_path: Path, shape: str, objective: str
) -> None:
    more = (
        ["--set", "train.objective.reward=exact", "--set", "train.objective.max_tokens=4"]
        if objective == "grpo"
        else []
    )
    before = set(base.parent.iterdir())
    figures = call("plan", base, data[shape], "--objective", objective, "--json", *more).object
    assert figures["objective"] == objective
    assert figures["tokens_per_second"] > 0
    assert figures["seconds"] > figures["num_steps"] * figures["seconds_per_step"]
    assert figures["peak_memory_bytes"] > 10**8
    assert set(base.parent.iterdir()) == before


def test_measuring_leaves_the_model_and_the_random_numbers_as_they_were(base: Path, data: dict[str, Path]) -> None:
    table = requested_table(FinetuneRequest.parse({"base": str(base), "sources": [str(data["sft"])]}))
    job = prepare_job(table, final_evaluations=False)
    job.model.eval()
    weights = {name: value.clone() for name, value in job.model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    planned = finetuning_plan.plan_finetuning(job, {}, 0.0)
    assert torch.equal(torch.rand(4), expected)
    assert all(torch.equal(value, weights[name]) for name, value in job.model.state_dict().items())
    assert all(parameter.grad is None for parameter in job.model.parameters())
    assert not job.model.training
    assert planned.job.settings.train.num_steps == job.settings.train.num_steps


def test_time_that_is_too_little_or_too_much_is_said(
    call: Callable, base: Path, data: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning_plan, "measure_step", lambda *_: MeasuredStep(0.5, 0.0, 0.0))
    too_short = call("finetune", base, data["dpo"], "--minutes", "0.05")
    assert too_short.code == 2
    assert "too short to tune" in too_short.err
    least = float(too_short.err.split("about ")[1].split()[0])
    plenty = call("plan", base, data["dpo"], "--minutes", "500", "--json").object
    assert "more than is useful: 1 epochs" in plenty["advice"][0]
    some = call("plan", base, data["dpo"], "--minutes", least + 0.3, "--json").object
    assert some["examples_seen_fraction"] < 1
    assert "of the examples are seen" in some["advice"][-1]
    assert some["seconds"] <= (least + 0.3) * 60
    twice = call("finetune", base, data["dpo"], "--minutes", "1", "--max-steps", "3")
    assert (twice.code, "both say how long" in twice.err) == (2, True)
    searched = call("finetune", base, data["dpo"], "--minutes", "1", "--trials", "3")
    assert (searched.code, "--trials" in searched.err) == (2, True)


def test_what_is_for_another_plan_is_refused(call: Callable, base: Path, text: Path, data: dict[str, Path]) -> None:
    for arguments, words in [
        ([text, "--minutes", "1", "--lora", "4"], "--lora is for a fine-tuning"),
        ([base, data["sft"], "--preset", "gpt2"], "--preset is for a new model"),
        ([base], "name the data to tune it on"),
    ]:
        refused = call("plan", *arguments)
        assert (refused.code, words in refused.err) == (2, True), refused.err


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the memory that is free, over what is held."""

    def set_free(num_bytes: float) -> None:
        monkeypatch.setattr(finetuning_plan, "free_memory_bytes", lambda: num_bytes)

    return set_free


@pytest.fixture
def peak_bytes(base: Path, data: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    """The memory that is needed over what is held, with micro-batches of so many samples."""
    monkeypatch.setattr(finetuning_plan, "memory_bytes", lambda: 0)
    request = {"base": str(base), "sources": [str(data["dpo"])], "settings": [FLOAT32]}
    table = requested_table(FinetuneRequest.parse(request))
    job = prepare_job(table, final_evaluations=False)

    def needed(size: int, *, checkpointing: bool) -> float:
        job.model.use_gradient_checkpointing(checkpointing)
        return finetuning_plan._memory(job, 1e12).peak_bytes(size) / finetuning_plan.MEMORY_SHARE

    return needed


def test_what_does_not_fit_is_made_to_fit_without_another_result(
    call: Callable, base: Path, data: dict[str, Path], memory: Callable, peak_bytes: Callable
) -> None:
    given = ["--batch-size", "8", "--json", "--set", FLOAT32]
    memory(1e12)
    whole = call("plan", base, data["dpo"], *given).object
    assert (whole["micro_batch_size"], whole["gradient_checkpointing"]) == (8, False)
    memory(peak_bytes(4, checkpointing=False) * 1.0001)
    half = call("plan", base, data["dpo"], *given).object
    assert (half["micro_batch_size"], half["gradient_checkpointing"]) == (4, False)
    memory(peak_bytes(1, checkpointing=False) * 0.9999)
    recomputed = call("plan", base, data["dpo"], *given).object
    assert recomputed["gradient_checkpointing"]
    assert "gradient checkpointing is on" in recomputed["advice"][0]
    memory(1e6)
    refused = call("finetune", base, data["dpo"], *given)
    assert refused.code == 2
    assert len([line for line in refused.err.splitlines() if "of memory at the least" in line]) == 1


def test_the_nearest_setting_that_fits_is_named(
    base: Path, data: dict[str, Path], memory: Callable, peak_bytes: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning_plan, "_num_trained", lambda _: 10**9)
    memory(peak_bytes(1, checkpointing=True) - 10**9)
    with pytest.raises(UserError, match=r"takes .* GB of memory at the least.*give --lora 8"):
        gptsmith.plan([base, data["dpo"]])


def test_kept_activations_are_counted_and_checkpointing_keeps_fewer(base: Path, data: dict[str, Path]) -> None:
    table = requested_table(FinetuneRequest.parse({"base": str(base), "sources": [str(data["sft"])]}))
    job = prepare_job(table, final_evaluations=False)
    assert isinstance(job.dataset, ExampleDataset)
    train = job.settings.train
    plain = measured_step.kept_bytes(job.model, job.dataset, train, 1e12)
    job.model.use_gradient_checkpointing(True)
    recomputed = measured_step.kept_bytes(job.model, job.dataset, train, 1e12)
    estimated = measured_step.kept_bytes(job.model, job.dataset, train, 0)
    assert 0 < recomputed.per_token < plain.per_token
    assert estimated.per_token > 0
    assert job.model.blocks[0].recomputes
