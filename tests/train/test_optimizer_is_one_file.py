"""A kind of optimizer is one file: dropped into the folder, it trains, is planned for, and resumes."""

from __future__ import annotations

from pathlib import Path

import pytest

import gptsmith
from gptsmith.run.folder import Run
from gptsmith.train import optimizers
from gptsmith.train.planning import time_budget
from gptsmith.train.planning.throughput import Speed
from tests.callbacks import stopped_after
from tests.dropped_kind import dropped_kind
from tests.workflows.conftest import SMALL, write_text

FILE = Path(__file__).with_name("dropped_sgd.py")
SETTINGS = [*SMALL, "train.dtype=float32", "train.optimizer.kind=dropped_sgd", "train.num_steps=20"]


def test_one_file_makes_an_optimizer_that_trains_resumes_and_is_planned_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = write_text(tmp_path / "smiths")
    monkeypatch.setattr(time_budget, "measured_speed", lambda *_: Speed(((7e6, 5e-6, 0.0), (1e9, 5e-4, 0.0))))
    with dropped_kind("gptsmith.train.optimizers", FILE):
        whole = gptsmith.pretrain([text], out=tmp_path / "whole", settings=SETTINGS)
        with stopped_after(7):
            gptsmith.pretrain([text], out=tmp_path / "run", settings=SETTINGS)
        resumed = gptsmith.pretrain(resume=tmp_path / "run")
        assert resumed["train_loss"] == whole["train_loss"]
        losses = [row["train_loss"] for row in Run.open(tmp_path / "run").log.events("step")]
        assert losses[-1] < losses[0]
        assert gptsmith.plan([text], minutes=1.0, settings=SETTINGS)["peak_memory_bytes"] > 0
    with pytest.raises(gptsmith.UserError, match="dropped_sgd"):
        optimizers.KINDS.validate("dropped_sgd")


def test_every_optimizer_says_what_it_keeps_of_a_parameter() -> None:
    for kind in ("adamw", "muon"):
        assert optimizers.KINDS.validate(kind).state_bytes_per_parameter >= 4
