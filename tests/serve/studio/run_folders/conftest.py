"""A studio with the tiny runs that were really trained."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import Opened, opened


@pytest.fixture(scope="package")
def family(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """A studio with `base` and three runs that were made from it."""
    folder = tmp_path_factory.mktemp("family")
    for name in ("base", "chat", "adapted", "labels"):
        copy(runs / name, folder / "runs" / name)
    with opened(folder) as studio:
        yield studio


def copy(run: Path, to: Path) -> None:
    """Copies a run, as if it had been made there."""
    shutil.copytree(run, to)
    for name in ("run.toml", "paths.json", "result.json"):
        written = (to / name).read_text(encoding="utf-8")
        (to / name).write_text(written.replace(str(run.parent), str(to.parent)), encoding="utf-8")
