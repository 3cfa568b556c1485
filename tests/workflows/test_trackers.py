"""Figures go to TensorBoard and Weights & Biases where asked, and nowhere else."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import MissingExtraError
from gptsmith.base.runlog import RunLog
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


def test_weights_and_biases_gets_numbers_and_no_text(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    rows: list[tuple[dict[str, Any], int]] = []

    class Sent:
        def log(self, figures: dict[str, Any], step: int) -> None:
            rows.append((figures, step))

        def finish(self) -> None:
            asked["finished"] = True

    module = ModuleType("wandb")
    module.init = lambda **arguments: asked.update(arguments) or Sent()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    gptsmith.pretrain([text], out=tmp_path / "run", settings=[*SETTINGS, "track.wandb=smiths"])
    assert (asked["project"], asked["name"], asked["finished"]) == ("smiths", "run", True)
    assert asked["config"]["model"]["embed_dim"] == 64
    assert [step for figures, step in rows if "step/train_loss" in figures] == [10, 20]
    assert all(isinstance(value, float) for figures, _ in rows for value in figures.values())


@pytest.mark.parametrize(
    ("library", "setting"), [("tensorboardX", "track.tensorboard=true"), ("wandb", "track.wandb=x")]
)
def test_a_missing_library_is_named(
    library: str, setting: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gptsmith\["):
        gptsmith.pretrain([text], out=tmp_path / "run", settings=[*SETTINGS, setting])


def test_nothing_is_sent_unless_asked(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("tensorboardX", "wandb"):
        monkeypatch.setitem(sys.modules, library, None)
    assert gptsmith.pretrain([text], out=tmp_path / "run", settings=SETTINGS)["status"] == "finished"
    assert not (tmp_path / "run" / "tensorboard").exists()
