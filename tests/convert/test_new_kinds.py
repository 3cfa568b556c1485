"""A family and a format are one file each: nothing else is touched, and the verbs have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import gptsmith
from gptsmith.convert.families import family_of
from tests.convert.sources import source, write_run
from tests.convert.test_families import test_every_parameter_has_a_name_in_each_table as every_parameter_has_a_name
from tests.dropped_kind import dropped_kind
from tests.workflows.conftest import Outcome, call

__all__ = ["call"]  # a fixture
NEW = Path(__file__).with_name("new")
Call = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(source("llama2", feedforward={"kind": "gated", "hidden_dim": 96}), tmp_path / "run")


def test_a_new_family_is_one_file(run: Path, call: Call, tmp_path: Path) -> None:
    settings = (run / "run.toml").read_text(encoding="utf-8")
    (run / "run.toml").write_text(settings.replace('model_type = "llama"', 'model_type = "newllama"'), encoding="utf-8")
    with dropped_kind("gptsmith.convert.families", NEW / "families" / "newllama.py"):
        every_parameter_has_a_name()
        out = call("export", run, "--to", "huggingface", "--out", "out", "--json")
        assert out.code == 0, out.err
        assert out.object["certificate"] == "passed"
        assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == "newllama"
        theirs = load_file(tmp_path / "out/model.safetensors")["newllama.norm.weight"]
        torch.testing.assert_close(theirs, gptsmith.load(run).model.final_norm.weight - 1)
        back = call("import", "out", "--out", "back", "--json")
        assert back.code == 0, back.err
        assert back.object["model_type"] == "newllama"
        assert call("certify", run, "back").code == 0
        assert call("certify", run, "out").code == 0
        assert call("export", run, "--to", "gguf", "--json").code == 0
    with pytest.raises(gptsmith.UserError, match="model_type='newllama' is not known"):
        family_of("newllama")


def test_a_new_format_is_one_file(run: Path, call: Call, tmp_path: Path) -> None:
    with dropped_kind("gptsmith.convert.formats", NEW / "formats" / "state_dict_only.py"):
        out = call("export", run, "--to", "state_dict_only", "--json")
        assert out.code == 0, out.err
    assert (out.object["folder"], out.object["certificate"]) == (f"{run}-state_dict_only", "passed")
    assert out.object["files"] == [
        "chat_template.jinja", "shape.json", "tokenizer.json", "tokenizer_config.json", "weights.safetensors",
    ]  # fmt: skip
    assert "no such kind of format" in call("export", run, "--to", "state_dict_only", "--out", "other").err
