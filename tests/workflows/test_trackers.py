"""Figures go to the trackers that are asked for, and nowhere else.

TensorBoard's library is the real one; wandb, mlflow and trackio are stand-ins that take the calls we make.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import MissingExtraError
from gptsmith.base.runlog import RunLog
from gptsmith.train.callbacks.trackers import trackers
from gptsmith.train.settings import TrackSettings
from tests.workflows.conftest import SMALL

SETTINGS = [*SMALL, "train.num_steps=20"]


def tensorboard_scalars(folder: Path) -> list[tuple[str, int, float]]:
    """What an event file says, read as the format is: records of a length, its checksum, data, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = folder.glob("events.*")
    data, rows, at = path.read_bytes(), [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        rows += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        at += length + 16
    return rows


def test_tensorboard_gets_what_the_run_logs(text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    gptsmith.pretrain([text], out=run, settings=[*SETTINGS, "track.tensorboard=true"])
    rows = tensorboard_scalars(run / "tensorboard")
    logged = RunLog(run / "metrics.jsonl").events("step")
    assert [(step, value) for tag, step, value in rows if tag == "step/train_loss"] == [
        (row["step"], pytest.approx(row["train_loss"], rel=1e-6)) for row in logged
    ]
    assert {tag for tag, _, _ in rows} >= {"step/gradient_norm", "evaluation/validation_loss"}


@pytest.mark.parametrize("library", ["wandb", "trackio"])
def test_a_project_gets_numbers_and_no_text(
    library: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}
    rows: list[tuple[dict[str, Any], int]] = []

    class Sent:
        def log(self, figures: dict[str, Any], step: int) -> None:
            rows.append((figures, step))

        def finish(self) -> None:
            asked["finished"] = True

    def init(**arguments: Any) -> Sent:
        if library == "trackio":
            print("* a hint of the library")
        asked.update(arguments)
        return Sent()

    module = ModuleType(library)
    module.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, library, module)
    gptsmith.pretrain([text], out=tmp_path / "run", settings=[*SETTINGS, f"track.{library}=smiths"])
    assert "a hint of the library" not in capsys.readouterr().out
    assert (asked["project"], asked["name"], asked["finished"]) == ("smiths", "run", True)
    assert asked["config"]["model"]["embed_dim"] == 64
    assert [step for figures, step in rows if "step/train_loss" in figures] == [10, 20]
    assert all(isinstance(value, float) for figures, _ in rows for value in figures.values())


class MlflowStore:
    """A stand-in of MLflow's client and what it keeps, as its calls are documented."""

    def __init__(self) -> None:
        self.uris: list[str] = []
        self.runs: dict[str, str] = {}
        self.parameters: dict[str, str] = {}
        self.metrics: list[tuple[str, float, int, int]] = []

    def __call__(self, tracking_uri: str) -> MlflowStore:
        self.uris.append(tracking_uri)
        return self

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        return name

    def create_run(self, experiment_id: str, run_name: str) -> SimpleNamespace:
        run_id = f"{experiment_id}-{run_name}-{len(self.runs)}"
        self.runs[run_id] = "RUNNING"
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def update_run(self, run_id: str, status: str) -> None:
        assert run_id in self.runs
        self.runs[run_id] = status

    def set_terminated(self, run_id: str) -> None:
        self.runs[run_id] = "FINISHED"

    def log_batch(self, run_id: str, metrics: Sequence[Any] = (), params: Sequence[Any] = ()) -> None:
        assert self.runs[run_id] == "RUNNING"
        assert len(params) <= 100
        self.parameters.update(params)
        self.metrics += metrics


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MlflowStore:
    store = MlflowStore()
    mlflow, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    mlflow.MlflowClient = store  # type: ignore[attr-defined]
    entities.Metric = entities.Param = lambda *values: values  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    return store


def test_mlflow_gets_numbers_in_the_run_and_a_resumed_run_goes_on(
    text: Path, tmp_path: Path, store: MlflowStore
) -> None:
    run = tmp_path / "run"
    gptsmith.pretrain([text], out=run, settings=[*SETTINGS, "track.mlflow=smiths"])
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert store.uris == [f"sqlite:///{run.resolve() / 'mlflow' / 'mlflow.db'}"]
    assert store.runs == {"smiths-run-0": "FINISHED"}
    assert store.parameters["model.embed_dim"] == "64"
    assert [step for name, _, _, step in store.metrics if name == "step/train_loss"] == [10, 20]
    assert all(isinstance(value, float) for _, value, _, _ in store.metrics)
    gptsmith.pretrain(resume=run, settings=["train.num_steps=30"])
    assert [step for name, _, _, step in store.metrics if name == "step/train_loss"] == [10, 20, 30]
    assert store.runs == {"smiths-run-0": "FINISHED"}


def test_mlflow_logs_to_the_server_that_is_named(
    tmp_path: Path, store: MlflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for server in ("http://a:5000", "http://a:5000", "http://b:5000"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        with trackers(TrackSettings(mlflow="smiths"), tmp_path, {}) as (log,):
            log("step", {"step": 1, "train_loss": 2.0, "device": "cpu", "is_last": True})
        assert store.uris[-1] == server
    assert len(store.runs) == 2
    assert {name for name, _, _, _ in store.metrics} == {"step/train_loss"}


@pytest.mark.parametrize(
    ("library", "setting"),
    [
        ("tensorboardX", "track.tensorboard=true"),
        ("wandb", "track.wandb=x"),
        ("mlflow", "track.mlflow=x"),
        ("trackio", "track.trackio=x"),
    ],
)
def test_a_missing_library_is_named(
    library: str, setting: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gptsmith\["):
        gptsmith.pretrain([text], out=tmp_path / "run", settings=[*SETTINGS, setting])


def test_nothing_is_sent_unless_asked(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("tensorboardX", "wandb", "mlflow", "trackio"):
        monkeypatch.setitem(sys.modules, library, None)
    assert gptsmith.pretrain([text], out=tmp_path / "run", settings=SETTINGS)["status"] == "finished"
    assert not (tmp_path / "run" / "tensorboard").exists()
