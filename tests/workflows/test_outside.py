"""Kinds from outside the package: the example of CONTRIBUTING, by --import and by an entry point."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gptsmith
from gptsmith.base import outside
from gptsmith.base.errors import ConfigurationError, UserError
from gptsmith.convert.families import families, family_of
from gptsmith.model import norm
from gptsmith.run.folder import Run
from gptsmith.train.callbacks.trackers import chosen
from gptsmith.train.rewards import reward_of
from gptsmith.train.settings import TrackSettings
from tests.workflows.conftest import Outcome

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"
TRAIN = (
    "--tokens 400 --set tokenizer.kind=bytes --set model.embed_dim=8 --set model.num_layers=1 --set model.num_heads=2 "
)
SMALL = f"{TRAIN} --set model.context_length=16 --set train.batch_size=2 --set train.device=cpu".split()


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example's file."""
    blocks = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "my norms.py"
    path.write_text(next(block for block in blocks if "ScaleNorm" in block), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(outside, "_imported", {})
    outside.registered.cache_clear()
    yield
    outside.registered.cache_clear()


def test_a_run_with_a_kind_of_a_named_file_asks_for_it_again(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Outcome]
) -> None:
    def said(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(outside, "_imported", {})  # as in a process of its own
        ended = call(*arguments)
        return ended.code, ended.out + ended.err

    text, run, sent = tmp_path / "text.txt", tmp_path / "run", tmp_path / "sent.py"
    text.write_text("The smith forges a hammer. " * 99, encoding="utf-8")
    arguments = ["pretrain", text, "--out", run, *SMALL, "--set", "model.norm=scalenorm"]
    code, words = said(*arguments)
    assert code == 2
    assert "no such kind of norm: scalenorm" in words
    assert not run.exists()
    code, words = said(*arguments, "--import", example)
    assert code == 0, words
    (recorded,) = json.loads((run / "imports.json").read_text())
    assert recorded["path"] == str(example)
    code, words = said("generate", run, "The", "--max-tokens", "2")
    assert code == 2
    assert "which is a program: if you trust it, name it with --import '" in words
    assert said("--import", example, "generate", run, "The", "--max-tokens", "2")[0] == 0
    # A run never decides what is run.
    monkeypatch.setattr(outside, "_imported", {})
    witness = tmp_path / "it ran"
    sent.write_text(f"open({str(witness)!r}, 'w')", encoding="utf-8")
    (run / "imports.json").write_text(json.dumps([{**recorded, "path": str(sent)}]))
    with pytest.raises(UserError, match=r"sent\.py, which is a program"):
        Run.open(run)
    assert not witness.exists()
    for damaged in ("5", "[5]", '[{"path": 5}]'):
        (run / "imports.json").write_text(damaged)
        with pytest.raises(UserError, match=r"imports\.json"):
            Run.open(run)


def test_a_file_that_is_missing_or_fails_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("1 / 0", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"bad\.py fails \(ZeroDivisionError: division by zero\)"):
        gptsmith.import_kinds(tmp_path / "bad.py")
    with pytest.raises(ConfigurationError, match="there is no such Python file"):
        gptsmith.import_kinds(tmp_path / "none.py")
    assert outside.imported_files() == []


def test_an_installed_package_registers_kinds(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example.rename(tmp_path / "module_of_a_plugin.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    group = norm.__name__
    entries = [
        EntryPoint("scalenorm", "module_of_a_plugin", group),
        EntryPoint("layernorm", "module_that_is_not_there", group),
        EntryPoint("broken", "module_that_is_not_there", group),
    ]
    monkeypatch.setattr(outside, "entry_points", lambda *, group: [entry for entry in entries if entry.group == group])
    assert {"scalenorm", "layernorm"} < set(norm.KINDS.names())
    made = norm.KINDS.validate("scalenorm").build(4)
    assert type(made).__module__ == "module_of_a_plugin"
    assert norm.KINDS.settings("layernorm").__module__ == f"{group}.layernorm"  # ours comes first
    with pytest.raises(UserError, match="the kind broken of a package cannot be imported"):
        norm.KINDS.validate("broken")


def test_without_the_file_a_kind_is_unknown_in_this_process(example: Path) -> None:
    assert "scalenorm" not in norm.KINDS.names()
    gptsmith.import_kinds(example)
    assert "scalenorm" in norm.KINDS.names()
    assert norm.KINDS.validate("scalenorm").kind == "scalenorm"


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of examples/plugin, as if it were installed."""
    groups = tomllib.loads((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    entries = [EntryPoint(name, value, group) for group, named in groups.items() for name, value in named.items()]
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setattr(outside, "entry_points", lambda *, group: [entry for entry in entries if entry.group == group])


def test_the_example_is_a_file_of_the_package(example: Path) -> None:
    assert example.read_text(encoding="utf-8") == (PLUGIN / "smith_example" / "scalenorm.py").read_text(
        encoding="utf-8"
    )


@pytest.mark.usefixtures("plugin")
def test_a_run_uses_a_kind_an_objective_a_reader_and_a_tracker_of_a_package(tmp_path: Path) -> None:
    text, run = tmp_path / "play.fountain", tmp_path / "run"
    text.write_text("THE SMITH\nNails! [[too loud?]]\n\n" * 99, encoding="utf-8")
    settings = [*SMALL[3::2], "model.norm=scalenorm", "train.objective.kind=focal", "track.plugin=csv_file:nails"]
    gptsmith.pretrain([text], out=run, tokens=400, settings=settings)
    assert "Nails!" in gptsmith.load(run).tokenizer.decode(gptsmith.load(run).tokenizer.encode("Nails!"))
    assert json.loads((run / "data.json").read_text(encoding="utf-8"))["num_bytes"] < 99 * 22
    rows = (run / "figures.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "event,step,figure,value"
    assert any(row.startswith("evaluation,") for row in rows)


@pytest.mark.usefixtures("plugin")
def test_a_package_registers_rewards_and_trackers_by_name() -> None:
    assert reward_of("short")([], "abc", "") == 0.25
    with pytest.raises(ConfigurationError, match=r"no installed package registers such a tracker \(known: csv_file\)"):
        chosen(TrackSettings(plugin="none"))
    with pytest.raises(UserError, match="no such reward"):
        reward_of("long")


@pytest.mark.usefixtures("plugin")
def test_a_package_registers_families_and_formats(trained: dict[str, Any], tmp_path: Path) -> None:
    plain = gptsmith.export(trained["run"], to="huggingface", out=tmp_path / "anvil")
    config = json.loads((tmp_path / "anvil" / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "qwen3"  # ours comes first
    (tmp_path / "anvil" / "config.json").write_text(json.dumps({**config, "model_type": "anvil"}), encoding="utf-8")
    (tmp_path / "anvil" / "certificate.json").unlink()
    ours, theirs = (gptsmith.load(path).model.state_dict() for path in (trained["run"], plain["folder"]))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)

    written = gptsmith.export(plain["folder"], to="npz", out=tmp_path / "npz")
    assert (written["format"], written["precision"]) == ("npz", "float32")
    with np.load(tmp_path / "npz" / "weights.npz") as weights:
        assert all(np.array_equal(weights[name], ours[name].float().numpy()) for name in ours)
    with pytest.raises(UserError, match="no such kind of format: npy"):
        gptsmith.export(trained["run"], to="npy", out=tmp_path / "npy")


def test_a_family_of_a_named_file_is_known_and_does_not_replace_ours(tmp_path: Path) -> None:
    path = tmp_path / "my_families.py"
    path.write_text(
        "from dataclasses import replace\nfrom gptsmith.convert.families import llama\n"
        "FAMILY = replace(llama.FAMILY, model_type='my_llama')\n",
        encoding="utf-8",
    )
    before = families()
    gptsmith.import_kinds(path)
    assert [family.model_type for family in families()] == [*(family.model_type for family in before), "my_llama"]
    path.with_name("other.py").write_text(path.read_text().replace("my_llama", "llama"), encoding="utf-8")
    gptsmith.import_kinds(path.with_name("other.py"))
    assert family_of("llama") in before
