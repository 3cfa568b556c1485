"""Exports brought to the Hub: in one commit, private, and only if they are the same model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import ConversionError
from gptsmith.convert.open import open_model
from gptsmith.workflows import export as exporting
from tests.convert.folders import write_model
from tests.hub_server import Hub, hub_server

NAME = "smith/tiny"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the library's own upload


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    with hub_server(monkeypatch) as hub:
        monkeypatch.setenv("HF_TOKEN", "good")
        yield hub


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    write_model("gpt2", folder)
    return folder


@pytest.fixture
def push(model: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def push(**options: Any) -> dict[str, Any]:
        given = {"to": "huggingface", "out": tmp_path / "out", "push": f"hf:{NAME}", **options}
        return gptsmith.export(model, **given)

    return push


def test_one_commit_has_the_files_of_the_export_and_works(
    hub: Hub, push: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    figures = push()
    repository = hub.repositories[NAME]
    (commit,) = repository.commits
    assert figures["pushed"].endswith(commit)
    assert repository.is_private
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert repository.commits[commit] == written
    assert {"README.md", "certificate.json", "model.safetensors"} <= written.keys()
    assert open_model(f"hf:{NAME}").config == open_model(tmp_path / "out").config


def test_a_new_model_is_public_only_if_that_is_said(hub: Hub, push: Callable[..., dict[str, Any]]) -> None:
    push(public=True)
    assert not hub.repositories[NAME].is_private
    with pytest.raises(ConversionError, match="--public is for --push"):
        push(push=None, public=True)


def test_a_push_that_broke_off_goes_on_without_a_new_export(
    hub: Hub, push: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    hub.breaks_uploads = 1
    with pytest.raises(ConversionError, match=r"was exported, and could not be pushed to smith/tiny.*the same command"):
        push()
    assert not hub.repositories[NAME].commits
    before = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    push()
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == before
    num_sent = sum(method == "PUT" for method, _, _ in hub.requests)
    push()
    assert sum(method == "PUT" for method, _, _ in hub.requests) == num_sent, "what has arrived is not sent again"
    (tmp_path / "out" / "config.json").write_text("{}")
    with pytest.raises(ConversionError, match="exists already"):
        push()


def test_a_gguf_file_gets_a_card(hub: Hub, push: Callable[..., dict[str, Any]]) -> None:
    push(to="gguf")
    (files,) = hub.repositories[NAME].commits.values()
    assert {"README.md", "model.gguf"} <= files.keys()
    assert b"library_name: gguf" in files["README.md"]


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (None, r"nobody is logged in here: log in with `hf auth login`"),
        ("bad", "does not accept the token here: log in"),
    ],
)
def test_who_is_not_logged_in_is_told_before_anything_is_done(
    hub: Hub, push: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str | None,
    expected: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ConversionError, match=expected):
        push()
    assert not (tmp_path / "out").exists()
    assert not hub.repositories


def test_what_is_not_the_same_model_is_not_pushed(
    hub: Hub, push: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(*_: Any) -> None:
        raise ConversionError("the export is not the same model")

    monkeypatch.setattr(exporting, "require_passed", failed)
    with pytest.raises(ConversionError, match="not the same model"):
        push()
    assert not hub.repositories
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["smith/tiny", "hf:tiny", "hf:a/b/c", "hf:../x"])
def test_what_is_no_name_on_the_hub_is_refused(hub: Hub, push: Callable[..., dict[str, Any]], name: str) -> None:
    with pytest.raises(ConversionError, match="name a model on the Hub, such as hf:owner/name"):
        push(push=name)
    assert not hub.requests
