"""What `info` reads of a run: its documents and the headers of its weights, never their bytes."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.convert import huggingface
from gptsmith.model import gpt
from gptsmith.model.config import GPTConfig
from gptsmith.run import checkpoint
from gptsmith.workflows import info


def test_info_reads_no_weights(trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "free_memory_bytes", lambda: None)
    exported = gptsmith.export(trained["run"], to="huggingface", out=tmp_path / "model")["folder"]
    shape = gptsmith.info(trained["run"])

    def hashed(path: Path) -> str:
        pytest.fail(f"{path} was read")

    monkeypatch.setattr(checkpoint, "sha256_of", hashed)
    monkeypatch.setattr(huggingface, "sha256_of", hashed)
    monkeypatch.setattr(huggingface, "_refuse_second_head", lambda *_: pytest.fail("weights were read"))
    assert gptsmith.info(trained["run"]) == shape
    assert gptsmith.info(exported)["num_parameters"] == shape["num_parameters"]
    with pytest.raises(pytest.fail.Exception):
        gptsmith.load(trained["run"])


def test_a_checkpoint_that_was_cut_is_still_seen(trained: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained["run"], copy)
    for weights in copy.glob("checkpoints/step-*/model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(gptsmith.UserError, match="no checkpoint that can be read"):
        gptsmith.info(copy)


def test_each_shape_is_built_a_few_times_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building a shape of many layers takes a tenth of a second."""
    built: Counter[GPTConfig] = Counter()
    build = gpt.meta_model
    monkeypatch.setattr(gpt, "meta_model", lambda config: built.update([config]) or build(config))
    gptsmith.info(preset="gpt2", settings=["model.num_layers=3", "model.vocab_size=999"])
    assert max(built.values()) <= 3
    assert len(built) == 3
