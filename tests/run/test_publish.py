"""A new run is whole or not there, and says what it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.base.settings import Settings
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.run.contents import CheckpointContents, load_model, weights
from gptsmith.run.folder import Run
from gptsmith.run.lineage import origins
from gptsmith.run.publish import beside, published_run
from gptsmith.run.train_state import TrainState
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings

SHAPE = {"num_layers": 1, "embed_dim": 32, "vocab_size": 259, "num_heads": 2, "head_dim": 16, "context_length": 8}


class Anything(Settings):
    made_by: str = "pretrain"


def contents(model: GPT) -> CheckpointContents:
    return CheckpointContents(model.config, weights(model), {"made_by": "pretrain"}, {"torch": "2"}, TrainState(step=3))


def test_a_published_run_holds_what_it_was_given(tmp_path: Path) -> None:
    model, tokenizer = GPT(preset("smith", **SHAPE)), BytesTokenizerSettings().train(list, 0)
    given = contents(model)
    with published_run(
        tmp_path / "run", Anything(), given, step=3, tokenizer=tokenizer, generation={"temperature": 0.5}
    ) as run:
        assert not (tmp_path / "run").exists()
        assert run.tokenizer().fingerprint == tokenizer.fingerprint
    run = Run.open(tmp_path / "run")
    checkpoint = run.best(pytest.fail)
    assert (checkpoint.step, checkpoint.train_state()) == (3, given.train_state)
    assert (checkpoint.settings(), checkpoint.environment()) == (given.settings, given.environment)
    assert (run.made_by, run.generation(), run.template()) == ("pretrain", {"temperature": 0.5}, None)
    assert not checkpoint.is_resumable
    again = load_model(checkpoint)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    tokenizer = BytesTokenizerSettings().train(list, 0)
    with (
        pytest.raises(UserError, match="not the same"),
        published_run(tmp_path / "run", Anything(), contents(GPT(preset("smith", **SHAPE))), tokenizer=tokenizer),
    ):
        raise UserError("not the same")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    tokenizer = BytesTokenizerSettings().train(list, 0)
    with (
        pytest.raises(UserError, match="exists already"),
        published_run(tmp_path, Anything(), contents(GPT(preset("smith", **SHAPE))), tokenizer=tokenizer),
    ):
        pytest.fail("it was begun")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_beside_another_has_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert beside("runs/mine/", "-int8") == Path("runs/mine-int8")
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert beside(".", "-int8") == tmp_path / "mine-int8"


def test_a_lineage_goes_from_the_last_step_to_the_first() -> None:
    trained: dict[str, Any] = {
        "made_by": "finetune", "request": {"base": "runs/base", "sources": ["talk.jsonl"]}, "train": {"dtype": "auto"},
    }  # fmt: skip
    merged: dict[str, Any] = {"made_by": "merge", "request": {"run": "runs/tuned"}, "source": trained}
    last, middle, first = origins({"made_by": "compress", "request": {"run": "runs/merged"}, "source": merged})
    assert [step.made_by for step in (last, middle, first)] == ["compress", "merge", "finetune"]
    assert (first.base, first.sources, first.is_trained) == ("runs/base", ["talk.jsonl"], True)
    assert (last.base, last.sources, last.is_trained) == (None, [], False)
