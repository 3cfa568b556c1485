"""Models on the Hub, fetched into the cache."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from gptsmith.convert.hub import fetch
from gptsmith.data.cache_contents import contents


def test_a_revision_has_no_files_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path))
    files = {"old": ["config.json", "model.safetensors"], "new": ["config.json", "model-00001-of-00002.safetensors"]}

    def model_info(*_: Any, revision: str, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(sha=revision)

    def download(_: str, *, revision: str, local_dir: Path, **__: Any) -> None:
        for name in files[revision]:
            local_dir.mkdir(parents=True, exist_ok=True)
            (local_dir / name).write_text(revision, encoding="utf-8")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    for revision in ("old", "new", "old"):
        folder = fetch("smith/tiny", revision)
        assert folder.name == "smith--tiny"
        assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == dict.fromkeys(
            files[revision], revision
        )
    assert [artefact.made_from for artefact in contents(tmp_path)] == ["smith/tiny"] * 2
