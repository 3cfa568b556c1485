"""Several processes that torchrun starts train as one does, move checkpoints among them, and come back when killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import gptsmith
from gptsmith.base.runlog import RunLog
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.run.distributed import Processes
from gptsmith.train.trainer import Session
from tests.workflows.conftest import SMALL

# Every step is kept: a run that is cut after any of them can be gone on with.
EVERY_STEP = [*SMALL, "train.num_steps=10", "checkpoint.every_steps=1", "checkpoint.keep_every_steps=1"]
EXACT = [*EVERY_STEP, "train.dtype=float64", "train.evaluate_every_steps=4", "train.sample_every_steps=6"]
KINDS = {
    "muon": ["train.optimizer.kind=muon"],
    "adamw": ["train.optimizer.kind=adamw", "model.tie_embeddings=true"],
}


def launched(num_processes: int, *arguments: object, restarts: int = 0) -> subprocess.Popen[str]:
    """torchrun of `gptsmith pretrain`."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={num_processes}"]
    verb = ["-m", "gptsmith", "pretrain", *map(str, arguments), "--json"]
    process = subprocess.Popen(
        [*torchrun, f"--max-restarts={restarts}", *verb], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
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


def ended(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    """The one JSON object of a torchrun that ended well, and what it said."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    (line,) = out.splitlines()
    figures: dict[str, Any] = json.loads(line)
    return figures, err


def together(text: Path, run: Path, num_processes: int, values: list[str]) -> tuple[dict[str, Any], str]:
    return ended(launched(num_processes, text, "--out", run, *settings_of(values)))


def assert_same(run: Path, golden: Path, tolerance: float) -> None:
    """Each step's loss, and weights, optimizer and figures of every step that both have."""
    ours, theirs = ({c.step: c for c in list_checkpoints(folder / "checkpoints")} for folder in (run, golden))
    assert max(ours) == max(theirs) == 10
    for step in ours.keys() & theirs.keys():
        mine, wanted = ours[step].train_state().plain(), theirs[step].train_state().plain()
        for name in ("train_loss", "validation_loss", "num_tokens", "num_samples"):
            assert mine[name] == pytest.approx(wanted[name], abs=tolerance)
        for name in ("model", "optimizer"):
            tensors, expected = (load_file(c[step].folder / f"{name}.safetensors") for c in (ours, theirs))
            assert tensors.keys() == expected.keys()
            for key, value in expected.items():
                assert tensors[key].dtype == value.dtype
                assert tensors[key].shape == value.shape
                assert (tensors[key] - value).abs().max() <= tolerance, (step, key)


def cut(run: Path, to: Path, step: int) -> Path:
    """A copy of a run as if it had died after a step."""
    shutil.copytree(run, to)
    (to / "result.json").unlink()
    for checkpoint in list_checkpoints(to / "checkpoints"):
        if checkpoint.step > step:
            shutil.rmtree(checkpoint.folder)
    return to


@pytest.fixture(scope="module")
def alone(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of one process, by optimizer."""
    folder = tmp_path_factory.mktemp("alone")
    for kind, values in KINDS.items():
        gptsmith.pretrain([text], out=folder / kind, settings=[*EXACT, *values])
    return {kind: folder / kind for kind in KINDS}


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_do_what_one_does(
    text: Path, alone: dict[str, Path], tmp_path: Path, pool: ThreadPoolExecutor, sharded: bool
) -> None:
    values = [f"parallel.shard={str(sharded).lower()}"]
    runs = {kind: pool.submit(together, text, tmp_path / kind, 2, [*EXACT, *KINDS[kind], *values]) for kind in KINDS}
    for kind, run in runs.items():
        figures, said = run.result()
        golden = json.loads((alone[kind] / "result.json").read_text())
        assert figures["status"] == "finished"
        for name in ("validation_loss", "bits_per_byte", "num_parameters", "num_tokens", "best_step"):
            assert figures[name] == pytest.approx(golden[name], abs=1e-12)
        assert said.count("step 10: validation loss") == 1
        assert_same(tmp_path / kind, alone[kind], 1e-12)
        ours, theirs = (RunLog(folder / "metrics.jsonl").events() for folder in (tmp_path / kind, alone[kind]))
        assert [row["event"] for row in ours] == [row["event"] for row in theirs]
        norms = [next(row["gradient_norm"] for row in rows if row["event"] == "step") for rows in (ours, theirs)]
        assert norms[0] == pytest.approx(norms[1], abs=1e-12)
        samples = [next(row["text"] for row in rows if row["event"] == "sample") for rows in (ours, theirs)]
        assert samples[0] == samples[1]
    # What two wrote, one goes on with.
    moved = cut(tmp_path / "muon", tmp_path / "moved", 5)
    gptsmith.pretrain(resume=moved)
    assert_same(moved, alone["muon"], 1e-12)


def test_checkpoints_move_from_one_process_to_four_and_on_to_two_that_shard(
    alone: dict[str, Path], tmp_path: Path
) -> None:
    four = cut(alone["muon"], tmp_path / "four", 3)
    _, said = ended(launched(4, "--resume", four))
    assert "not bit for bit what an unstopped run gives: num_processes was 1 and is 4" in said
    assert_same(four, alone["muon"], 1e-12)
    two = cut(four, tmp_path / "two", 7)
    _, said = ended(launched(2, "--resume", two, "--set", "parallel.shard=true"))
    assert "num_processes was 4 and is 2; sharded was not set and is True" in said
    assert_same(two, alone["muon"], 1e-12)


def workers(process: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun started, in the order of their ranks."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def wait_for_step(process: subprocess.Popen[str], run: Path, step: int) -> None:
    deadline = time.monotonic() + 60
    while not any(c.step >= step for c in list_checkpoints(run / "checkpoints")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc")
def test_a_killed_worker_comes_back_and_a_stopped_run_goes_on_bit_for_bit(
    text: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    values = [*EVERY_STEP, "model.dropout=0.1", "train.num_steps=30", "train.evaluate_every_steps=1"]
    unstopped = pool.submit(together, text, tmp_path / "unstopped", 2, values)
    run = tmp_path / "run"
    arguments = [text, "--out", run, *settings_of(values)]
    process = launched(2, *arguments, restarts=2)
    wait_for_step(process, run, 5)
    os.kill(workers(process)[0], signal.SIGKILL)  # the one that holds the lock and writes
    wait_for_step(process, run, 12)
    process.terminate()  # torchrun hands it on to the workers
    out, err = process.communicate(timeout=60)
    stopped = json.loads(out.splitlines()[-1])
    assert (stopped["status"], stopped["signal"]) == ("stopped", "SIGTERM"), err
    assert err.count("going on at step") == 1
    assert list_checkpoints(run / "checkpoints")[0].step == stopped["step"] < 30

    # The same again, until one worker alone is asked to stop: all leave as one does.
    process = launched(2, *arguments)
    wait_for_step(process, run, stopped["step"] + 4)
    os.kill(workers(process)[1], signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert json.loads(out)["status"] == "stopped"
    assert err.count("exitcode  : 143") == 2
    assert "gptsmith/commands" not in err  # no traceback of ours

    ended(launched(2, *arguments))
    unstopped.result()
    ours, theirs = (
        {c.step: c for c in list_checkpoints(tmp_path / name / "checkpoints")} for name in ("run", "unstopped")
    )
    assert max(ours) == max(theirs) == 30
    for step in ours.keys() & theirs.keys():
        assert ours[step].train_state().train_loss == theirs[step].train_state().train_loss
        for name in ("model", "optimizer", "randomness"):
            assert (ours[step].folder / f"{name}.safetensors").read_bytes() == (
                theirs[step].folder / f"{name}.safetensors"
            ).read_bytes()


def with_a_fault(*arguments: object) -> subprocess.Popen[str]:
    """Two processes of `nonfinite_worker.py`."""
    script = Path(__file__).with_name("nonfinite_worker.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", str(script), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.append(process)
    return process


@pytest.mark.parametrize("shard", ["false", "true"])
def test_weights_that_are_lost_are_taken_up_again_by_all(text: Path, tmp_path: Path, shard: str) -> None:
    run, values = tmp_path / "run", [*EVERY_STEP, f"parallel.shard={shard}"]
    _, err = with_a_fault(text, run, 4, "once", *values).communicate(timeout=120)
    events = [row["event"] for row in RunLog(run / "metrics.jsonl").events()]
    assert events.count("skip") == 2, err
    assert events.count("roll_back") == 1
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert (result["status"], result["step"]) == ("finished", 10)
    weights = load_file(list_checkpoints(run / "checkpoints")[0].folder / "model.safetensors")
    assert all(bool(value.isfinite().all()) for value in weights.values())


def test_weights_that_are_lost_for_good_are_named(text: Path, tmp_path: Path) -> None:
    _, err = with_a_fault(text, tmp_path / "run", 4, "always", *EVERY_STEP).communicate(timeout=120)
    said = [line for line in err.splitlines() if line.startswith("gptsmith: ")]
    assert said
    assert all("the loss is nan" in line and "blocks.1.attention.value" in line for line in said)
    assert err.count("exitcode  : 2") >= 1  # the other may be ended before it can speak


def test_a_plan_is_corrected_by_all_alike(text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shape = ["model.embed_dim=32", "model.num_layers=1", "model.context_length=32", "tokenizer.kind=bytes"]
    _, err = with_a_fault(text, run, 0.2, "planned", *shape).communicate(timeout=120)
    plan = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert result["status"] == "finished", err
    assert result["step"] == plan["replanned"]["num_steps"] < plan["replanned"]["num_steps_before"]


def test_a_batch_that_cannot_be_divided_is_said_by_all(text: Path, tmp_path: Path) -> None:
    process = launched(3, text, "--out", tmp_path / "run", *settings_of(SMALL))
    _, err = process.communicate(timeout=60)
    assert "gptsmith: train.batch_size=8 is not divisible by the 3 processes: set it to 6 or 9" in err
    assert err.count("exitcode  : 2") == 3
    assert not (tmp_path / "run").exists()


def test_a_signal_that_the_others_do_not_know_of_yet_waits_for_them() -> None:
    session = Session.__new__(Session)
    session.stopped_by = None

    class Asking(Processes):
        def all_reduce_max(self, value: int) -> int:
            session.stopped_by = signal.SIGTERM  # it comes when this process has said that it knows of none
            return value

    session.processes = Asking(1, 2)
    assert not session._should_stop()
    assert session._should_stop()
