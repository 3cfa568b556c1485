"""Several processes that torchrun starts train as one does, move checkpoints among them, and come back when killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore

import gptsmith
from gptsmith.base.runlog import RunLog
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.run.distributed import Processes
from gptsmith.run.stored_tensors import StoredTensors
from gptsmith.train.callbacks.signals import StopOnSignal
from gptsmith.train.trainer import Trainer
from tests.forked import Forked
from tests.workflows import process_worker
from tests.workflows.conftest import SMALL
from tests.workflows.together import (
    Job,
    Outcome,
    assert_same,
    cut,
    same_bits,
    store_of_torchrun,
    wait_for_step,
    work,
    workers,
)

pytestmark = pytest.mark.story

TINY = [*SMALL, "model.embed_dim=32", "train.dtype=float32"]
# Every step is kept: a run that is cut after any of them can be resumed.
EVERY_STEP = [*TINY, "train.num_steps=10", "checkpoint.every_steps=1", "checkpoint.keep_every_steps=1"]
EXACT = [*EVERY_STEP, "train.dtype=float64", "train.evaluate_every_steps=4", "train.sample_every_steps=6"]
NUM_RESTARTED_STEPS = 20
RESTARTED = [*EVERY_STEP, f"train.num_steps={NUM_RESTARTED_STEPS}", "model.dropout=0.1"]
RESTARTED += ["train.evaluate_every_steps=5"]
KINDS = {
    "muon": ["train.optimizer.kind=muon"],
    "adamw": ["train.optimizer.kind=adamw", "model.tie_embeddings=true", "train.gradient_checkpointing=true"],
}
SHARDED = "parallel.shard=true"
SHORT = [*EVERY_STEP, "train.dtype=bfloat16", "train.optimizer.kind=adamw"]
TIMED = ["model.embed_dim=32", "model.num_layers=1", "model.context_length=32", "tokenizer.kind=bytes"]
TIMED += ["train.dtype=float32", "train.batch_size=2", "train.num_steps=100"]


def launched(num_processes: int, *arguments: object, restarts: int = 0) -> subprocess.Popen[str]:
    """torchrun of `gptsmith pretrain`."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={num_processes}"]
    command += [f"--max-restarts={restarts}", "-m", "gptsmith", "pretrain", *map(str, arguments), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.append(process)
    return process


started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Where a test failed, its processes must not outlive it."""
    yield
    for process in started:
        if process.poll() is None:
            for pid in [*workers(process), process.pid]:
                os.kill(pid, signal.SIGKILL)
            process.communicate()
    started.clear()


def settings_of(values: list[str]) -> list[str]:
    return [part for value in values for part in ("--set", value)]


@pytest.fixture(scope="module")
def alone(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of one process, by optimizer."""
    folder = tmp_path_factory.mktemp("alone")
    for kind, values in KINDS.items():
        gptsmith.pretrain([text], out=folder / kind, settings=[*EXACT, *values])
    return {kind: folder / kind for kind in KINDS}


@dataclass(frozen=True)
class Together:
    """What two processes did, one job after the other."""

    folder: Path
    outcome: Outcome
    of_four: Outcome

    def run(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(scope="module")
def together(text: Path, alone: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Together:
    """Every job of two processes that may share them: they are started once."""
    folder = tmp_path_factory.mktemp("together")
    values: dict[str, list[str]] = {}
    for kind, kind_values in KINDS.items():
        values[f"{kind}-False"] = [*EXACT, *kind_values]
        values[f"{kind}-True"] = [*EXACT, *kind_values, SHARDED]
    values |= {"unstopped": RESTARTED, "once-False": EVERY_STEP, "once-True": [*EVERY_STEP, SHARDED]}
    values |= {"short-False": SHORT, "short-True": [*SHORT, SHARDED]}
    values |= {"odd": [*TINY, "train.batch_size=7"], "always": EVERY_STEP, "timed": TIMED}
    jobs: dict[str, Job] = {
        name: {"sources": [str(text)], "out": str(folder / name), "settings": settings}
        for name, settings in values.items()
    }
    for name in ("once-False", "once-True", "always"):
        jobs[name] |= {"poison_at": 4, "always": name == "always"}
    jobs["timed"]["minutes"] = 2.0
    jobs["short-True"]["counts"] = True
    jobs["joined"] = {**jobs["muon-False"], "out": str(folder / "joined"), "joins": True}
    four = cut(alone["muon"], folder / "four", 3)
    (folder / "by_four").mkdir()
    by_four: dict[str, Job] = {"four": {"resume": str(four)}}
    for size in (2, 3):
        grouped = [*values["muon-True"], f"parallel.shard_size={size}"]
        by_four[f"by-{size}"] = {"sources": [str(text)], "out": str(folder / f"by-{size}"), "settings": grouped}
    of_four = work(folder / "by_four", 4, by_four)
    jobs["two"] = {"resume": str(cut(four, folder / "two", 7)), "settings": [SHARDED]}
    jobs["of-one"] = {"resume": str(cut(alone["adamw"], folder / "of-one", 4))}
    return Together(folder, work(folder, 2, jobs), of_four)


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_do_what_one_does(
    alone: dict[str, Path], together: Together, tmp_path: Path, kind: str, sharded: bool
) -> None:
    name = f"{kind}-{sharded}"
    run, (every_figures, said) = together.run(name), together.outcome(name)
    golden = json.loads((alone[kind] / "result.json").read_text())
    for figures in every_figures:
        assert figures["status"] == "finished"
        for key in ("validation_loss", "bits_per_byte", "num_parameters", "num_tokens", "best_step"):
            assert figures[key] == pytest.approx(golden[key], abs=1e-12)
    assert said.count("step 10: validation loss") == 1
    assert_same(run, alone[kind], 1e-12)
    ours, theirs = (RunLog(folder / "metrics.jsonl").events() for folder in (run, alone[kind]))
    assert [row["event"] for row in ours] == [row["event"] for row in theirs]
    norms = [next(row["gradient_norm"] for row in rows if row["event"] == "step") for rows in (ours, theirs)]
    assert norms[0] == pytest.approx(norms[1], abs=1e-12)
    samples = [next(row["text"] for row in rows if row["event"] == "sample") for rows in (ours, theirs)]
    assert samples[0] == samples[1]
    if kind == "muon":  # what two wrote, one resumes
        moved = cut(run, tmp_path / "moved", 5)
        gptsmith.pretrain(resume=moved)
        assert_same(moved, alone["muon"], 1e-12)


def test_a_group_that_is_there_is_joined_and_left_as_it_is(alone: dict[str, Path], together: Together) -> None:
    assert [figures["status"] for figures in together.outcome("joined")[0]] == ["finished"] * 2
    assert_same(together.run("joined"), alone["muon"], 1e-12)


def test_checkpoints_move_from_one_process_to_four_and_on_to_two_that_shard_and_back_to_one(
    alone: dict[str, Path], together: Together, tmp_path: Path
) -> None:
    assert "equal to an uninterrupted run: num_processes was 1 and is 4" in together.of_four("four")[1]
    assert_same(together.run("four"), alone["muon"], 1e-12)
    _, said = together.outcome("two")
    assert "num_processes was 4 and is 2; sharded was not set and is True" in said
    assert_same(together.run("two"), alone["muon"], 1e-12)
    assert_same(together.run("of-one"), alone["adamw"], 1e-12)
    back = cut(together.run("four"), tmp_path / "back", 7)
    gptsmith.pretrain(resume=back)
    assert_same(back, alone["muon"], 1e-12)


def test_a_model_is_sharded_within_groups(alone: dict[str, Path], together: Together) -> None:
    assert_same(together.run("by-2"), alone["muon"], 1e-12)
    for each in together.of_four("by-3")[0]:
        assert "parallel.shard_size=3 does not divide the 4 processes: set it to 2, 4, or leave it out" in each["error"]
    assert not together.run("by-3").exists()


def test_what_is_computed_in_16_bits_is_sent_in_16_bits(text: Path, together: Together, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    gptsmith.pretrain([text], out=alone, settings=SHORT)
    losses = [
        [checkpoint.train_state().train_loss for checkpoint in list_checkpoints(run / "checkpoints")]
        for run in (alone, together.run("short-False"), together.run("short-True"))
    ]
    assert len(losses[0]) == 10
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
    assert losses[2] == pytest.approx(losses[1], abs=1e-4)
    weights = StoredTensors(list_checkpoints(alone / "checkpoints")[0].files("model.safetensors"))
    assert {each.dtype for each in weights.values()} == {torch.float32}
    of_blocks = sum(each.numel() for name, each in weights.items() if name.startswith("blocks."))
    others = sum(each.numel() for each in weights.values()) - of_blocks
    # Each process gathers the other's half: of blocks twice a step; and sums all gradients, in float32.
    sent = {"allgather_base": of_blocks * 2 + others * 4 // 2, "reduce_scatter_base": (of_blocks + others) * 4}
    assert [figures["sent"] for figures in together.outcome("short-True")[0]] == [sent, sent]


@pytest.mark.parametrize("sharded", [False, True])
def test_weights_that_are_lost_are_rolled_back_by_all(together: Together, sharded: bool) -> None:
    run = together.run(f"once-{sharded}")
    events = [row["event"] for row in RunLog(run / "metrics.jsonl").events()]
    assert events.count("skip") == 2
    assert events.count("roll_back") == 1
    for result in together.outcome(f"once-{sharded}")[0]:
        assert (result["status"], result["step"]) == ("finished", 10)
    weights = StoredTensors(list_checkpoints(run / "checkpoints")[0].files("model.safetensors"))
    assert all(bool(value.isfinite().all()) for value in weights.values())


def test_weights_that_are_lost_for_good_are_named(together: Together) -> None:
    figures, _ = together.outcome("always")
    for each in figures:
        assert "the loss is nan" in each["error"]
        assert "blocks.1.attention.value" in each["error"]


def test_a_plan_is_corrected_by_all_alike(together: Together) -> None:
    plan = json.loads((together.run("timed") / "plan.json").read_text(encoding="utf-8"))
    for result in together.outcome("timed")[0]:
        assert result["status"] == "finished"
        assert result["step"] == plan["replanned"][-1]["num_steps"] < plan["replanned"][0]["num_steps_before"]


def test_a_batch_that_cannot_be_divided_is_said_by_all(together: Together) -> None:
    for each in together.outcome("odd")[0]:
        assert "train.batch_size=7 is not divisible by the 2 processes: set it to 6 or 8" in each["error"]
    assert not together.run("odd").exists()


def test_an_error_of_several_processes_is_one_line_and_exit_code_2(text: Path, tmp_path: Path) -> None:
    store = store_of_torchrun()
    processes = forked(store, text, "--out", tmp_path / "run", *settings_of([*TINY, "train.batch_size=7"]))
    for process in processes:
        _, err = process.communicate()
        assert process.poll() == 2
        assert re.fullmatch("gptsmith: train.batch_size=7 is not divisible by the 2 processes: .*\n", err)
    assert not (tmp_path / "run").exists()


def forked(store: TCPStore, *arguments: object, num_restarts: int = 0) -> list[Forked]:
    """Two processes of `gptsmith pretrain`, without the one that torchrun itself is."""
    variables = [process_worker.variables(rank, 2, store.port, num_restarts) for rank in range(2)]
    return [Forked("pretrain", *arguments, "--json", environment=environment) for environment in variables]


def test_processes_that_are_restarted_after_the_end_leave_the_run_as_it_is(text: Path, tmp_path: Path) -> None:
    run, store = tmp_path / "run", store_of_torchrun()
    arguments = [text, "--out", run, *settings_of([*TINY, "train.num_steps=2"])]
    said, written = [], []
    for num_restarts in range(2):
        for process in forked(store, *arguments, num_restarts=num_restarts):
            out, err = process.communicate()
            assert process.poll() == 0, err
            said += [json.loads(out)] if out else []
        written.append((run / "result.json").stat().st_mtime_ns)
    assert said[0] == said[1]
    assert written[0] == written[1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc")
def test_a_killed_worker_comes_back_and_a_stopped_run_is_resumed_bit_for_bit(
    text: Path, together: Together, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = [text, "--out", run, *settings_of(RESTARTED)]
    process = launched(2, *arguments, restarts=2)
    wait_for_step(process, run, 3)
    os.kill(workers(process)[0], signal.SIGKILL)  # the one that holds the lock and writes
    wait_for_step(process, run, 7)
    process.terminate()  # torchrun passes it to the workers
    out, err = process.communicate(timeout=60)
    stopped = json.loads(out.splitlines()[-1])
    assert (stopped["status"], stopped["signal"]) == ("stopped", "SIGTERM"), err
    assert err.count("resumed from step") == 1
    assert list_checkpoints(run / "checkpoints")[0].step == stopped["step"] < NUM_RESTARTED_STEPS

    # The same again, until one worker alone is asked to stop: all leave as one does.
    store = store_of_torchrun()
    first, second = forked(store, *arguments)
    wait_for_step(first, run, stopped["step"] + 2)
    second.send_signal(signal.SIGTERM)
    (out, err), (_, more) = first.communicate(), second.communicate()
    assert json.loads(out)["status"] == "stopped"
    assert (first.poll(), second.poll()) == (143, 143)
    assert "Traceback" not in err + more

    work(tmp_path, 2, {"last": {"resume": str(run)}})
    assert same_bits(run, together.run("unstopped")) >= 3
    assert list_checkpoints(run / "checkpoints")[0].step == NUM_RESTARTED_STEPS


def test_a_signal_that_the_others_do_not_know_of_yet_waits_for_them() -> None:
    trainer, callback = Trainer.__new__(Trainer), StopOnSignal()
    trainer.status = None

    class Asking(Processes):
        def all_reduce_max(self, value: int) -> int:
            callback.received = signal.SIGTERM  # it comes when this process has sent that it knows of none
            return value

    trainer.processes = Asking(1, 2)
    callback.on_rejected_step(trainer, ..., [])
    assert trainer.status is None
    callback.on_rejected_step(trainer, ..., [])
    assert trainer.status == "stopped"
