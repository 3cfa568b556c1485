"""Workers of Ray train as one process does, and come back when one of them, or its host, is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.cluster.connect import imported_ray
from gptsmith.cluster.training import train_on_ray
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.train.request import PretrainRequest
from tests.cluster import changing_text
from tests.workflows.conftest import SMALL, write_text

pytest.importorskip("ray.train")
pytestmark = [
    pytest.mark.story,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds workers in /proc"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray's own, of its own settings
]

NUM_STEPS = 60
SETTINGS = [*SMALL, "model.embed_dim=32", "model.dropout=0.0", "train.dtype=float64", f"train.num_steps={NUM_STEPS}"]
SETTINGS += ["checkpoint.every_steps=1", "checkpoint.keep_every_steps=1"]


@dataclass(frozen=True)
class Hosts:
    """A cluster of two hosts with one CPU each; the command runs on the first."""

    cluster: Any
    address: str


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        imported_ray(is_local=False)
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args=HOST)
        cluster.add_node(**HOST)
        yield Hosts(cluster, cluster.address)
        cluster.shutdown()


HOST = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "smiths")


@pytest.fixture(scope="module")
def unbroken(hosts: Hosts, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two workers, of which none was killed."""
    run = tmp_path_factory.mktemp("unbroken") / "run"
    gptsmith.pretrain([text], out=run, settings=SETTINGS, ray=hosts.address, workers=2)
    return run


def assert_equal(run: Path, golden: Path, tolerance: float = 0.0) -> None:
    """The losses and weights of every step that both have."""
    ours, theirs = ({c.step: c for c in list_checkpoints(folder / "checkpoints")} for folder in (run, golden))
    assert max(ours) == max(theirs) == NUM_STEPS
    for step in ours.keys() & theirs.keys():
        losses = [each[step].train_state().train_loss for each in (ours, theirs)]
        assert losses[0] == pytest.approx(losses[1], rel=0, abs=tolerance)
        tensors, expected = (load_file(c[step].folder / "model.safetensors") for c in (ours, theirs))
        assert all(float((tensors[name] - value).abs().max()) <= tolerance for name, value in expected.items())


def reaches(run: Path, step: int, is_alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not any(c.step >= step for c in list_checkpoints(run / "checkpoints")):
        assert is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def workers_of(run: Path) -> list[int]:
    """The processes of Ray that have the lock of a run open."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()).startswith(f"{run}/") for fd in (folder / "fd").iterdir()):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_two_workers_do_what_one_process_does(unbroken: Path, text: Path, tmp_path: Path) -> None:
    gptsmith.pretrain([text], out=tmp_path / "alone", settings=SETTINGS)
    assert_equal(unbroken, tmp_path / "alone", 1e-11)


@contextmanager
def training(hosts: Hosts, text: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, which trains a new run by two workers."""
    arguments = [str(text), "--out", "run", *(part for value in SETTINGS for part in ("--set", value))]
    command = [sys.executable, "-m", "gptsmith", "pretrain", *arguments, "--ray", hosts.address, "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--json"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_killed_worker_comes_back_and_ctrl_c_saves(hosts: Hosts, unbroken: Path, text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with training(hosts, text, tmp_path) as process:
        reaches(run, 2, lambda: process.poll() is None)
        (worker,) = workers_of(run)
        os.kill(worker, signal.SIGKILL)
        reaches(run, 5, lambda: process.poll() is None)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    figures = json.loads(out)
    assert (figures["status"], figures["signal"]) == ("stopped", "SIGINT")
    assert err.count("a worker or its host died: all start again") == 1
    assert err.count("resumed from step") == 1
    resume = f"Resume with: gptsmith pretrain --resume run --ray {hosts.address} --workers 2"
    assert f"stopped and saved at step {figures['step']}. {resume}" in err
    assert not any(word in err for word in ("Traceback", "RayTrainWorker", "pid=", "raylet"))
    gptsmith.pretrain(resume=run, ray=hosts.address, workers=2)
    assert_equal(run, unbroken)


def test_a_killed_host_is_waited_for(hosts: Hosts, unbroken: Path, text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with training(hosts, text, tmp_path) as process:
        reaches(run, 3, lambda: process.poll() is None)
        (lost,) = [node for node in hosts.cluster.list_all_nodes() if not node.is_head()]
        hosts.cluster.remove_node(lost, allow_graceful=False)
        hosts.cluster.add_node(**HOST)
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    figures = json.loads(out)
    assert (figures["status"], figures["step"]) == ("finished", NUM_STEPS)
    assert err.count("resumed from step") == 1
    assert_equal(run, unbroken)


def test_a_host_with_another_text_is_named(hosts: Hosts, tmp_path: Path) -> None:
    text = write_text(tmp_path / "text")
    request = PretrainRequest(
        sources=[str(text)], out=str(tmp_path / "run"), settings=SETTINGS, ray=hosts.address, workers=2
    )
    with pytest.raises(UserError, match=rf"\(process 1\): the data of .*{tmp_path.name}.* has changed"):
        train_on_ray(changing_text.pretrain, request, time.monotonic())


def test_what_workers_cannot_share_is_one_line(hosts: Hosts, text: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, "train.batch_size=7"]
    with pytest.raises(UserError, match="batch_size=7 is not divisible by the 2 processes: set it to 6 or 8"):
        gptsmith.pretrain([text], out=tmp_path / "run", settings=settings, ray=hosts.address, workers=2)
    assert not (tmp_path / "run").exists()
