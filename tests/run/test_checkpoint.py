"""Checkpoints: whole or not there, and what is damaged is noticed."""

from __future__ import annotations

import errno
import random
import shutil
from pathlib import Path

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.base.settings import Settings
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.run.checkpoint import Checkpoint, Retention, first_good, list_checkpoints, publish_checkpoint
from gptsmith.run.contents import CheckpointContents, load_model, weights
from gptsmith.run.folder import Run
from gptsmith.run.train_state import TrainState


def fill(folder: Path) -> None:
    (folder / "a.bin").write_bytes(bytes(range(256)) * 20)
    (folder / "b.json").write_text('{"step": 1}', encoding="utf-8")


def publish(folder: Path, *steps: int) -> list[Checkpoint]:
    return [publish_checkpoint(folder, step, fill) for step in steps]


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    (checkpoint,) = publish(tmp_path, 1)
    assert checkpoint.problem() is None
    chance = random.Random(0)
    for _ in range(200):
        path = chance.choice([checkpoint.folder / "a.bin", checkpoint.folder / "b.json"])
        whole = path.read_bytes()
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        assert "damaged" in (checkpoint.problem() or "")
        path.write_bytes(whole)
    assert checkpoint.problem() is None


def test_what_is_cut_short_or_missing_is_noticed(tmp_path: Path) -> None:
    for damage in (
        lambda c: (c / "a.bin").write_bytes(b"short"),
        lambda c: (c / "a.bin").unlink(),
        lambda c: (c / "MANIFEST.json").unlink(),
        lambda c: (c / "MANIFEST.json").write_text("{"),
    ):
        (checkpoint,) = publish(tmp_path, 1)
        damage(checkpoint.folder)
        assert checkpoint.problem()


def test_the_newest_good_one_is_found_and_the_bad_one_named(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2, 3)
    (tmp_path / "step-000000003" / "a.bin").write_bytes(b"")
    said: list[str] = []
    assert first_good(list_checkpoints(tmp_path), tmp_path, said.append).step == 2
    assert len(said) == 1
    assert "step-000000003" in said[0]
    for step in (1, 2):
        shutil.rmtree(tmp_path / f"step-{step:09d}")
    with pytest.raises(UserError, match="1 damaged"):
        first_good(list_checkpoints(tmp_path), tmp_path, said.append)


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    publish(tmp_path, 1, 2, 3, 4, 5)
    Retention(keep=2).apply(tmp_path, best_step=2)
    assert [c.step for c in list_checkpoints(tmp_path)] == [5, 4, 2]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("anything")])
def test_a_checkpoint_that_fails_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    def fails(folder: Path) -> None:
        fill(folder)
        raise error

    with pytest.raises(UserError if isinstance(error, OSError) else RuntimeError):
        publish_checkpoint(tmp_path, 1, fails)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_comes_back_as_it_was(tmp_path: Path, tied: bool) -> None:
    shape = {"num_layers": 2, "embed_dim": 64, "vocab_size": 50, "num_heads": 2, "head_dim": 32}
    model = GPT(preset("smith", **shape, tie_embeddings=tied), seed=3)
    run = Run.create(tmp_path / "run", {"model": {}}, Settings)
    contents = CheckpointContents(model.config, weights(model), {"model": {}}, {}, TrainState(validation_loss=1.0))
    checkpoint = publish_checkpoint(run.checkpoints, 7, contents.write)
    moved = shutil.move(run.folder, tmp_path / "elsewhere")
    again = load_model(Run.open(moved).best(print))
    assert checkpoint.step == 7
    assert again.config.plain() == model.config.plain()
    for (name, a), (other, b) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(a, b)


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="is not a run"):
        Run.create(tmp_path, {}, Settings)
    with pytest.raises(UserError, match=r"holds no run\.toml"):
        Run.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_newer_run_is_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {}, Settings)
    path = run.folder / "run.toml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("format_version = 2", "format_version = 99"), encoding="utf-8"
    )
    with pytest.raises(UserError, match="format 99"):
        Run.open(run.folder)
