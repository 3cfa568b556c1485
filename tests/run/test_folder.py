"""Run folders: what is kept, what is refused, which checkpoint is taken."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gptsmith.base.errors import UserError
from gptsmith.base.settings import Settings
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.run.checkpoint import Checkpoint, list_checkpoints, publish_checkpoint
from gptsmith.run.contents import CheckpointContents, load_model, load_weights, weights
from gptsmith.run.folder import Run
from gptsmith.run.train_state import TrainState

SHAPE = {"num_layers": 1, "embed_dim": 32, "vocab_size": 20, "num_heads": 2, "head_dim": 16, "context_length": 8}


def small(seed: int = 0, **changes: object) -> GPT:
    return GPT(preset("smith", **{**SHAPE, **changes}), seed=seed).eval()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", {"train": {"num_steps": 3}}, Settings)


def save(run: Run, step: int, **state: Any) -> Checkpoint:
    return save_model(run, small(step), step, **state)


def save_model(run: Run, model: GPT, step: int = 1, **state: Any) -> Checkpoint:
    contents = CheckpointContents(
        model.config, weights(model), run.settings(), {}, TrainState(**state), optimizer={"a/m": torch.ones(2)}
    )
    return publish_checkpoint(run.checkpoints, step, contents.write)


def damage(checkpoint: Checkpoint, name: str = "model.safetensors") -> None:
    data = bytearray((checkpoint.folder / name).read_bytes())
    data[-1] ^= 1
    (checkpoint.folder / name).write_bytes(data)


def test_settings_come_back_and_name_their_schema(run: Run) -> None:
    assert Run.open(run.folder).settings() == {"train": {"num_steps": 3}}
    assert (run.folder / "run.toml").read_text(encoding="utf-8").startswith("#:schema ./run.schema.json\n")
    assert json.loads((run.folder / "run.schema.json").read_text(encoding="utf-8"))["title"] == "Settings"
    assert run.result() is None


def test_an_existing_run_is_not_overwritten(run: Run) -> None:
    with pytest.raises(UserError, match=f"{run.folder} exists already: choose another --out$"):
        Run.create(run.folder, {}, Settings)
    assert run.settings() == {"train": {"num_steps": 3}}


def test_a_file_is_no_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="exists already and is not a run"):
        Run.create(tmp_path / "a", {}, Settings)
    with pytest.raises(UserError, match="there is no such run"):
        Run.open(tmp_path / "b")


def test_the_same_logits_after_a_move(run: Run, tmp_path: Path) -> None:
    save(run, 3)
    moved = run.folder.rename(tmp_path / "moved")
    ids = torch.arange(8)[None]
    with torch.no_grad():
        again = load_model(Run.open(moved).newest(pytest.fail))
        assert not again.training
        assert torch.equal(again(ids), small(3)(ids))
        assert not torch.equal(again(ids), small(4)(ids))


def test_a_tied_head_is_stored_once_and_is_the_embedding_again(run: Run) -> None:
    model = small(1, tie_embeddings=True)
    assert "head.weight" not in weights(model)
    again = load_model(save_model(run, model))
    assert again.head.weight is again.embedding.weight
    ids = torch.arange(8)[None]
    with torch.no_grad():
        assert torch.equal(again(ids), model(ids))


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary", "alibi", "none"])
@pytest.mark.parametrize("attention", ["full", "additive", "sliding_window"])
def test_every_kind_comes_back(run: Run, position: str, attention: str) -> None:
    model = small(2, position={"kind": position}, attention={"kind": attention}, norm={"kind": "layernorm"})
    ids = torch.arange(8)[None]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)), alpha=0.1)
        assert torch.equal(load_model(save_model(run, model))(ids), model(ids))


def test_wrong_shapes_and_names_are_refused(run: Run) -> None:
    checkpoint = save(run, 1)
    with pytest.raises(UserError, match=r"embedding\.weight has shape \(20, 32\).*asks for \(21, 32\)"):
        load_weights(small(vocab_size=21), checkpoint)
    with pytest.raises(UserError, match=r"weights and config do not agree about blocks\.1\."):
        load_weights(small(num_layers=2), checkpoint)
    tensors = {**weights(small()), "more": torch.zeros(1)}
    save_file(tensors, checkpoint.folder / "model.safetensors")
    with pytest.raises(UserError, match="do not agree about more"):
        load_model(checkpoint)


def test_a_damaged_newest_gives_way_to_the_one_before(run: Run) -> None:
    for step in (1, 2, 3):
        save(run, step, validation_loss=float(step), validation_step=step)
    damage(run.newest(pytest.fail))
    said: list[str] = []
    assert run.newest(said.append).step == 2
    assert len(said) == 1
    assert "step-000000003 is set aside as .bad-step-000000003: model.safetensors is damaged" in said[0]
    assert run.best(pytest.fail).step == 1
    damage(run.best(pytest.fail), "optimizer.safetensors")
    assert run.best(lambda _: None).step == 2


def test_a_checkpoint_of_a_newer_version_is_passed_over(run: Run) -> None:
    checkpoint = save(run, 1)
    path = checkpoint.folder / "MANIFEST.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "format_version": 99}), encoding="utf-8")
    assert "newer version (format 99, known: 4)" in (checkpoint.problem() or "")
    with pytest.raises(UserError, match=r"no checkpoint that can be read \(1 damaged\)"):
        run.newest(lambda _: None)


@pytest.mark.parametrize("damaged", ["[]", "{}", '{"format_version": 1, "files": []}', "\xff", "null"])
def test_a_manifest_that_is_something_else_is_noticed(run: Run, damaged: str) -> None:
    checkpoint = save(run, 1)
    (checkpoint.folder / "MANIFEST.json").write_text(damaged, encoding="latin-1")
    assert checkpoint.problem()


def test_any_damage_to_a_manifest_is_noticed_or_changes_nothing(run: Run) -> None:
    checkpoint = publish_checkpoint(run.checkpoints, 1, lambda folder: (folder / "a").write_bytes(b"abc") and None)
    path = checkpoint.folder / "MANIFEST.json"
    whole = path.read_bytes()
    files = json.loads(whole)["files"]
    for place in range(len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            assert checkpoint.problem() or json.loads(data)["files"] == files


def test_the_best_is_the_one_that_was_measured(run: Run) -> None:
    """A checkpoint between two evaluations carries the loss of the earlier one."""
    save(run, 100, validation_loss=1.0, validation_step=100)
    save(run, 150, validation_loss=1.0, validation_step=100)
    save(run, 200, validation_loss=1.2, validation_step=200)
    assert run.best(pytest.fail).step == 100


def test_without_a_measured_loss_the_newest_is_the_best(run: Run) -> None:
    for step in (1, 2):
        save(run, step, validation_loss=None)
    assert run.best(pytest.fail).step == 2


def test_a_run_without_checkpoints_says_so(run: Run) -> None:
    assert run.newest(pytest.fail) is None
    with pytest.raises(UserError, match=r"has no checkpoint that can be read$"):
        run.best(pytest.fail)


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(run: Run) -> None:
    damage(save(run, 1))
    for _ in range(2):
        with pytest.raises(UserError, match=r"no checkpoint that can be read \(1 damaged\)"):
            run.newest(lambda _: None)


def test_other_folders_are_no_checkpoints(run: Run) -> None:
    save(run, 12)
    for name in (".tmp-step-000000013-x", "step-13", "notes"):
        (run.checkpoints / name).mkdir()
    assert [c.step for c in list_checkpoints(run.checkpoints)] == [12]


def test_a_full_disk_keeps_the_checkpoint_that_was_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    save(run, 1)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for step in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(UserError, match="no room on the disk"):
                save(run, step)
        assert [path.name for path in run.checkpoints.iterdir()] == ["step-000000001"]
        assert run.newest(pytest.fail).step == 1


def test_a_step_that_is_saved_again_is_replaced(run: Run) -> None:
    for loss in (2.0, 1.0):
        checkpoint = save(run, 1, validation_loss=loss)
    assert checkpoint.problem() is None
    assert checkpoint.train_state() == TrainState(validation_loss=1.0)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000000001"]
