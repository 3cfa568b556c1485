"""The lessons: their commands and their Python run, with a smaller model on less text."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from gptsmith.base import machine
from gptsmith.cli import main

ROOT = Path(__file__).resolve().parents[2]
LESSONS = ROOT / "docs" / "learn"
INDEX = LESSONS / "README.md"
PAGES = sorted(page for page in LESSONS.glob("*.md") if page != INDEX)
SMALLER = {
    "num_layers = 4": "num_layers = 1",
    "batch_size = 16": "batch_size = 2",
    "num_steps = 150": "num_steps = 2",
    "evaluate_every_steps = 50": "evaluate_every_steps = 2\nevaluation_tokens = 64",
}
SHORTER = {"--epochs 20": "--epochs 1", "--max-tokens 60": "--max-tokens 5", "--steps 200": "--steps 2 --max-tokens 5"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The commands of a page, each shortened and split into words."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    for old, new in SHORTER.items():
        lines = [line.replace(old, new) for line in lines]
    return [shlex.split(line, comments=True) for line in lines]


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a command in this process."""
    program, *rest = arguments
    monkeypatch.setattr(machine, "process_seconds", lambda: 0.0)
    if program == "python":
        monkeypatch.setattr(sys, "argv", rest)
        runpy.run_path(rest[0], run_name="__main__")
        return
    assert program == "gptsmith"
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code, arguments


@pytest.fixture(scope="module")
def classroom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of the first page have run, on the beginning of the text."""
    folder = tmp_path_factory.mktemp("classroom")
    shutil.copytree(LESSONS, folder / "docs" / "learn")
    shutil.copytree(ROOT / "examples", folder / "examples")
    settings = folder / "docs" / "learn" / "tiny.toml"
    text = settings.read_text(encoding="utf-8")
    for old, new in SMALLER.items():
        assert old in text
        text = text.replace(old, new)
    settings.write_text(text, encoding="utf-8")
    first, *others = commands(INDEX)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(first, patch)
        for name, size in (("python.txt", 40_000), ("questions.jsonl", 5_000)):
            shortened = (folder / name).read_text(encoding="utf-8")[:size].rpartition("\n")[0]
            (folder / name).write_text(shortened + "\n", encoding="utf-8")
        for command in others:
            run(command, patch)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_lesson_run(page: Path, classroom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(classroom)
    for command in commands(page):
        run(command, monkeypatch)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_the_python_of_a_lesson_runs_and_prints_what_is_shown(page: Path) -> None:
    printed, names = StringIO(), dict[str, object]()
    with redirect_stdout(printed):
        for block in blocks(page, "python"):
            exec(block, names)
    # The numbers of random weights are not compared.
    shown, found = (re.sub(r"[1-9]e-0\d", "#", text) for text in ("".join(blocks(page, "text")), printed.getvalue()))
    assert found in shown


def test_there_are_eight_lessons_of_a_readable_length_in_order() -> None:
    listed = re.findall(r"^\d\. \[.*?\]\((.*?)\)", INDEX.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == [page.name for page in PAGES]
    assert len(listed) == 8
    for number, name in enumerate(listed, 1):
        text = (LESSONS / name).read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. ")
        assert 60 <= len(text.splitlines()) <= 120
        following = listed[number] if number < len(listed) else INDEX.name
        assert f"]({following})" in text.splitlines()[-1]
