"""Processes that train together, and what they must have in common with one that trains alone."""

from __future__ import annotations

import json
import multiprocessing.connection
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import TCPStore

from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.run.stored_tensors import StoredTensors
from tests.forked import PROCESSES, Forked
from tests.workflows import process_worker

Job = dict[str, Any]
Outcome = Callable[[str], tuple[list[Any], str]]


def store_of_torchrun() -> TCPStore:
    """What processes find each other by; it must live as long as they do."""
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def work(folder: Path, num_processes: int, jobs: dict[str, Job], dies: int | None = None) -> Outcome:
    """Has so many processes do all jobs; returns what gives, by name, the figures of each process, and what was
    said.

    Args:
        dies: the process that dies on the way, and with it all.
    """
    store = store_of_torchrun()
    order = process_worker.Order(jobs=jobs, folder=str(folder), num_processes=num_processes, port=store.port)
    processes = [
        PROCESSES.Process(target=process_worker.work, args=(order, rank), daemon=True) for rank in range(num_processes)
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + 200
    while any(process.exitcode is None for process in processes) and not any(process.exitcode for process in processes):
        multiprocessing.connection.wait([process.sentinel for process in processes if process.exitcode is None], 1)
        assert time.monotonic() < deadline
    for process in processes:
        process.kill()
        process.join()
    told = (folder / "said").read_text(encoding="utf-8")
    if dies is None:
        assert [process.exitcode for process in processes] == [0] * num_processes, told
    else:
        assert processes[dies].exitcode == 9, told
    said = {name: words for name, _, words in (part.partition("\n") for part in told.split("=== ")[1:])}

    def outcome(name: str) -> tuple[list[Any], str]:
        paths = [folder / f"{name}.{rank}.json" for rank in range(num_processes)]
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths], said[name]

    return outcome


def assert_same(run: Path, golden: Path, tolerance: float) -> None:
    """Each step's loss, and weights, optimizer and figures of every step that both have."""
    ours, theirs = ({c.step: c for c in list_checkpoints(folder / "checkpoints")} for folder in (run, golden))
    assert max(ours) == max(theirs) == 10
    for step in ours.keys() & theirs.keys():
        mine, wanted = ours[step].train_state(), theirs[step].train_state()
        for name in ("train_loss", "validation_loss", "num_tokens", "num_samples"):
            assert getattr(mine, name) == pytest.approx(getattr(wanted, name), abs=tolerance)
        for name in ("model", "optimizer"):
            tensors, expected = (StoredTensors(c[step].files(f"{name}.safetensors")) for c in (ours, theirs))
            assert tensors.keys() == expected.keys()
            for key, value in expected.items():
                assert tensors[key].dtype == value.dtype
                assert tensors[key].shape == value.shape
                assert (tensors[key] - value).abs().max() <= tolerance, (step, key)


def same_bits(run: Path, golden: Path) -> int:
    """Asserts that what both have kept of a step is the same in every bit; returns the number of such steps."""
    ours, theirs = ({c.step: c for c in list_checkpoints(folder / "checkpoints")} for folder in (run, golden))
    assert max(ours) == max(theirs)
    for step in ours.keys() & theirs.keys():
        assert ours[step].train_state().train_loss == theirs[step].train_state().train_loss
        for name in ("model", "optimizer", "randomness"):
            mine, wanted = (c[step].files(f"{name}.safetensors") for c in (ours, theirs))
            assert [path.name for path in mine] == [path.name for path in wanted]
            for one, other in zip(mine, wanted, strict=True):
                assert one.read_bytes() == other.read_bytes(), (step, one.name)
    return len(ours.keys() & theirs.keys())


def cut(run: Path, to: Path, step: int) -> Path:
    """A copy of a run as if it had died after a step."""
    shutil.copytree(run, to)
    (to / "result.json").unlink()
    for checkpoint in list_checkpoints(to / "checkpoints"):
        if checkpoint.step > step:
            shutil.rmtree(checkpoint.folder)
    return to


def workers(process: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun started, in the order of their ranks."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def wait_for_step(process: subprocess.Popen[str] | Forked, run: Path, step: int) -> None:
    deadline = time.monotonic() + 60
    while not any(c.step >= step for c in list_checkpoints(run / "checkpoints")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
