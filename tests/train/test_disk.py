"""The disk that a run takes, foreseen: what its checkpoints came to, and a refusal before anything is trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.base.notices import notice_of
from gptsmith.run.folder import Run
from gptsmith.train.planning.disk import RunDisk
from gptsmith.train.run_settings import RunSettings

TEXT = "The old smith went to his forge and made a gate of iron.\n" * 80
SMALL = ["model.num_layers=1", "model.embed_dim=32", "model.num_heads=2", "model.context_length=32",
         "train.batch_size=4", "train.num_steps=4", "train.evaluate_every_steps=2", "tokenizer=bytes"]  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_what_is_foreseen_is_what_a_run_takes(text: Path, tmp_path: Path) -> None:
    figures = gptsmith.pretrain(text, out=tmp_path / "run", settings=[*SMALL, "train.optimizer=adamw"])
    settings = RunSettings.parse(Run(tmp_path / "run").settings(), "")
    disk = RunDisk.of_shape(settings.model, settings)
    checkpoints = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
    sizes = [sum(file.stat().st_size for file in one.glob("*.safetensors")) for one in checkpoints]
    assert disk.checkpoint_bytes == figures["num_parameters"] * 12
    assert disk.checkpoint_bytes <= max(sizes) <= 1.2 * disk.checkpoint_bytes + 20_000
    assert disk.least_bytes < disk.most_bytes == 4 * disk.checkpoint_bytes


def test_a_disk_that_is_too_small_is_refused_before_anything_is_trained(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - 90_000, 90_000))
    with pytest.raises(UserError, match=r"take .* of disk, and there are 90 kB free where .*run is to be") as refused:
        gptsmith.pretrain(text, out=tmp_path / "run", settings=SMALL)
    notice = notice_of(refused.value)
    assert notice is not None
    assert (notice["code"], notice["values"]["free_bytes"]) == ("disk", 90_000)
    assert not (tmp_path / "run").exists()
