"""Files that a run names are found from anywhere, and beside it wherever both have gone."""

from __future__ import annotations

import glob
import shutil
from pathlib import Path

import pytest

from gptsmith.base.errors import CheckpointError
from gptsmith.run.paths import PATHS, RunPaths


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a text and a run that was made in it; the working directory is elsewhere."""
    project = tmp_path / "project"
    (project / "runs" / "mine").mkdir(parents=True)
    (project / "text").mkdir()
    (project / "text" / "a.txt").write_text("of the project", encoding="utf-8")
    monkeypatch.chdir(project)
    RunPaths(Path("runs/mine")).record()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return project


FORMS = ["text/a.txt", "text", "text/*.txt", "./text/../text/a.txt", "**/a.txt"]


def read(path: str) -> str:
    found = path if "*" in path or Path(path).is_file() else f"{path}/*.txt"
    (file,) = glob.glob(found, recursive=True)  # noqa: PTH207
    return Path(file).read_text(encoding="utf-8")


@pytest.mark.parametrize("given", FORMS)
def test_from_another_folder(project: Path, given: str) -> None:
    assert read(RunPaths(project / "runs" / "mine").located(given)) == "of the project"


@pytest.mark.parametrize("given", FORMS)
@pytest.mark.parametrize("is_copied", [False, True])
def test_run_and_text_that_went_together(project: Path, given: str, is_copied: bool) -> None:
    moved = project.with_name("moved")
    (shutil.copytree if is_copied else shutil.move)(project, moved)
    (moved / "text" / "a.txt").write_text("of the moved one", encoding="utf-8")
    assert read(RunPaths(moved / "runs" / "mine").located(given)) == "of the moved one"


def test_a_run_that_went_alone(project: Path, tmp_path: Path) -> None:
    shutil.move(project / "runs" / "mine", tmp_path / "mine")
    assert read(RunPaths(tmp_path / "mine").located("text/a.txt")) == "of the project"


def test_the_working_directory_comes_last(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "text", "text")
    Path("text/a.txt").write_text("another text of this name", encoding="utf-8")
    run = RunPaths(project / "runs" / "mine")
    assert read(run.located("text/a.txt")) == "of the project"
    shutil.rmtree(project / "text")
    assert read(run.located("text/a.txt")) == "another text of this name"


def test_an_absolute_path_and_one_of_the_home_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunPaths(project / "runs" / "mine")
    assert run.located(project / "text") == str(project / "text")
    monkeypatch.setenv("HOME", str(project))
    assert read(run.located("~/text/a.txt")) == "of the project"
    moved = project.rename(project.with_name("moved"))
    assert RunPaths(moved / "runs" / "mine").located(project / "text") == str(moved / "text")


def test_a_run_derived_from_another_finds_what_that_one_names(project: Path, tmp_path: Path) -> None:
    derived = tmp_path / "elsewhere" / "derived"
    derived.mkdir()
    RunPaths(derived).record(RunPaths(project / "runs" / "mine"))
    assert read(RunPaths(derived).located("text/a.txt")) == "of the project"
    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
    assert read(RunPaths(moved / "elsewhere" / "derived").located("text/a.txt")) == "of the project"
    moved.rename(tmp_path)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"folder": "", "working_directories": []}', '{"folder": 1}'])
def test_a_run_that_does_not_say_looks_in_the_folders_around_it(project: Path, content: str | None) -> None:
    run = project / "runs" / "mine"
    (run / PATHS).unlink()
    if content is not None:
        (run / PATHS).write_text(content, encoding="utf-8")
    assert read(RunPaths(run).located("text/a.txt")) == "of the project"


def test_what_is_missing_is_named_with_the_places(project: Path) -> None:
    run = project / "runs" / "mine"
    with pytest.raises(CheckpointError, match=r"names text/b\.txt, which is not there \(looked for .*project/text/b"):
        RunPaths(run).located("text/b.txt")
