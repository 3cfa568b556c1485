"""Models on this machine: found where people and other programs keep them, described, and left as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gptsmith.base.errors import UserError
from gptsmith.serve.studio.place import Place
from gptsmith.serve.studio.train.found_models import FoundModels, licence_of
from gptsmith.workflows.export import export


@pytest.fixture(scope="module")
def exported(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model as a Hugging Face folder with a licence, and as a GGUF file."""
    folder = tmp_path_factory.mktemp("exported")
    export(runs / "chat", to="huggingface", out=folder / "hf")
    export(runs / "chat", to="gguf", out=folder / "gguf")
    card = folder / "hf" / "README.md"
    card.write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n", encoding="utf-8")
    return folder


def test_models_are_found_where_programs_keep_them(
    runs: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HF_HOME", raising=False)
    home, folder, allowed = tmp_path / "home", tmp_path / "studio", tmp_path / "allowed"
    place_of = {
        folder / "runs" / "mine": runs / "base",
        allowed / "Smith 😀": exported / "hf",
        home / ".cache/huggingface/hub/models--owner--smith/snapshots/abc": exported / "hf",
    }
    for target, source in place_of.items():
        shutil.copytree(source, target)
    (gguf,) = (exported / "gguf").glob("*.gguf")
    blobs = home / ".ollama/models/blobs"
    (home / ".lmstudio/models/owner/other").mkdir(parents=True)
    blobs.mkdir(parents=True)
    shutil.copy(gguf, home / ".lmstudio/models/owner/other/smith-q8.gguf")
    shutil.copy(gguf, blobs / "sha256-aa")
    (blobs / "sha256-bb").write_text("\nMIT License\nand so on", encoding="utf-8")
    layers = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{name}"}
        for kind, name in (("model", "aa"), ("license", "bb"))
    ]
    manifest = home / ".ollama/models/manifests/registry.ollama.ai/library/smith/latest"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"layers": layers}), encoding="utf-8")
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text('{"model_type": "no such family"}', encoding="utf-8")
    place = Place(folder, [allowed])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    found = FoundModels(place, home)
    rows = {model.name: model.row() for model in found.look()}
    assert {name: row["place"] for name, row in rows.items()} == {
        "mine": "runs", "Smith 😀": "folder", "broken": "folder", "owner/smith": "huggingface",
        "owner/other": "lmstudio", "smith:latest": "ollama",
    }  # fmt: skip
    assert rows["mine"]["id"] == "runs/mine"
    assert {name: row["kind"] for name, row in rows.items() if name != "broken"}.items() >= {
        ("mine", "base"),
        ("smith:latest", "chat"),
    }
    assert (rows["Smith 😀"]["licence"], rows["smith:latest"]["licence"]) == ("apache-2.0", "MIT License")
    assert "family" in rows["broken"]["problem"]
    sizes = {row["num_parameters"] for name, row in rows.items() if name not in ("broken", "mine")}
    assert len(sizes) == 1
    assert sizes.pop() > 1000
    for model in found.look():
        assert model.problem or model.tuning_bytes["all_weights"] > 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path in before} == before


def test_a_model_is_opened_again_only_when_it_changes(runs: Path, tmp_path: Path) -> None:
    place = Place(tmp_path / "studio")
    shutil.copytree(runs / "base", place.runs / "base")
    found = FoundModels(place, tmp_path)
    (first,) = found.look()
    (again,) = found.look()
    assert again is first
    (place.runs / "base" / "note.txt").write_text("x", encoding="utf-8")
    (changed,) = found.look()
    assert changed is not first


def test_only_what_was_found_can_be_begun_with(runs: Path, tmp_path: Path) -> None:
    found = FoundModels(Place(tmp_path / "studio"), tmp_path)
    for wanted in (str(runs / "base"), "../base", "runs/base", "hf:openai-community/gpt2", ""):
        with pytest.raises(UserError, match="not among the models"):
            found.get(wanted)


def test_a_licence_is_that_of_the_card_or_none(tmp_path: Path) -> None:
    for text, licence in (
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\ntags:\n- x\nlicense: 'other'\n---\nlicense: no\n", "other"),
        ("# Title\nlicense: mit\n", ""),
        ("---\nlicense: mit\n" + "x\n" * 20_000, ""),
    ):
        (tmp_path / "README.md").write_text(text, encoding="utf-8")
        assert licence_of(tmp_path) == licence
