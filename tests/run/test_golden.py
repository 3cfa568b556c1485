"""Runs of every format version that was ever written are still read."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch

import gptsmith
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.run.upgrade import NEWEST_FORMAT_VERSION
from tests.run.make_golden import TEXT

GOLDEN = sorted(Path(__file__).with_name("golden").iterdir())


def test_every_version_has_a_golden_run() -> None:
    assert [folder.name for folder in GOLDEN] == [f"version-{number}" for number in range(1, NEWEST_FORMAT_VERSION + 1)]


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_it_loads_and_says_what_it_said_then(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder, tmp_path / "run")
    assert all(checkpoint.problem() is None for checkpoint in list_checkpoints(run / "checkpoints"))
    expected = json.loads((run / "expected.json").read_text(encoding="utf-8"))
    loaded = gptsmith.load(run)
    ids = loaded.tokenizer.encode(expected["prompt"])
    assert ids == expected["ids"]
    with torch.no_grad():
        logits = loaded.model(torch.tensor([ids]))[0, -1, : len(expected["first_logits"])]
    torch.testing.assert_close(logits, torch.tensor(expected["first_logits"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("folder", [*GOLDEN[:2], *GOLDEN[3:]], ids=lambda folder: folder.name)
def test_it_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shutil.copytree(folder, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    Path("smiths.txt").write_text(TEXT * 40, encoding="utf-8")
    figures = gptsmith.pretrain(resume=run, tokens=8 * 4 * 16)
    assert (figures["status"], figures["step"]) == ("finished", 8)
    assert math.isfinite(figures["validation_loss"])
    assert os.fspath(tmp_path) not in (run / "run.toml").read_text(encoding="utf-8")


def test_checkpoints_of_adapters_to_frozen_weights_beside_them_are_merged(tmp_path: Path) -> None:
    run = shutil.copytree(GOLDEN[2], tmp_path / "run")
    assert all(checkpoint.frozen() is not None for checkpoint in list_checkpoints(run / "checkpoints"))
    expected = json.loads((run / "expected.json").read_text(encoding="utf-8"))
    merged = gptsmith.load(gptsmith.merge(run, out=tmp_path / "merged")["run"])
    with torch.no_grad():
        logits = merged.model(torch.tensor([expected["ids"]]))[0, -1, : len(expected["first_logits"])]
    torch.testing.assert_close(logits, torch.tensor(expected["first_logits"]), rtol=0, atol=1e-5)
