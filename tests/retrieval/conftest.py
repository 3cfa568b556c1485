"""A small folder of documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptsmith.retrieval.documents import Documents

FORGE = """# The forge

Notes of the parish of Tolver.

## Steel

Aldric Penhallow opened the forge in 1873. He quenched every blade in whale oil, because water cracked them.

## Prices

A horseshoe cost four pence, and a ploughshare eleven shillings.
"""
CHINESE = "铁匠铺在杭州西湖边。老铁匠名叫王大锤，他每天打造三把剑。\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three documents, and a cache of their own."""
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "notes"
    (folder / "trips").mkdir(parents=True)
    (folder / "forge.md").write_text(FORGE, encoding="utf-8")
    (folder / "china.txt").write_text(CHINESE, encoding="utf-8")
    (folder / "trips" / "sea.txt").write_text("The ferry to Mull leaves Oban at 7:40 on Sundays.\n", encoding="utf-8")
    return folder


@pytest.fixture
def documents(folder: Path) -> Documents:
    return Documents([folder])
