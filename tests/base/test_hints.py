"""Commands that a message shows can be pasted into the shell that it is shown in."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptsmith.base import hints
from gptsmith.base.hints import shell_command
from gptsmith.cli import VERBS

PACKAGE = Path(hints.__file__).parents[1]
SHOWN = re.compile(rf"\bgptsmith ({'|'.join(VERBS)})\b")
HELP = {"epilog", "examples"}
"""Keyword arguments whose commands are shown in the help: tests/test_shown_commands.py runs them."""


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    hints._program.cache_clear()
    yield
    hints._program.cache_clear()


def literals(node: ast.AST) -> Iterator[str]:
    """The strings of a source that a person may be shown: neither docstrings nor the help of the command line."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.keyword) and child.arg in HELP:
            continue
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value
        yield from literals(child)


def test_no_message_spells_a_command_out() -> None:
    """It would not be quoted, and would not name the program as this shell knows it."""
    found = [
        (str(path.relative_to(PACKAGE)), text)
        for path in PACKAGE.rglob("*.py")
        if SHOWN.search(source := path.read_text(encoding="utf-8"))
        for text in literals(ast.parse(source))
        if SHOWN.search(text)
    ]
    assert found == []


def test_a_spelt_command_is_found() -> None:
    source = 'class A:\n    """gptsmith chat"""\n    def f(run):\n        raise E(f"try gptsmith chat {run}")'
    assert list(literals(ast.parse(source))) == ["try gptsmith chat "]


@pytest.mark.skipif(sys.platform == "win32", reason="quotes of a POSIX shell")
def test_arguments_are_quoted() -> None:
    line = shell_command("generate", Path("my runs/it's"), "a $HOME `b`")
    assert shlex.split(line)[-3:] == ["generate", "my runs/it's", "a $HOME `b`"]


@pytest.mark.parametrize("on_path", [True, False])
def test_the_program_is_named_as_the_shell_finds_it(on_path: bool, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    program = str(Path(sys.executable).parent)
    paths = [part for part in os.environ["PATH"].split(os.pathsep) if part != program]
    environment = {**os.environ, "PATH": os.pathsep.join([program, *paths] if on_path else paths)}
    code = "from gptsmith.base.hints import shell_command; print(shell_command('runs', 'my runs'))"
    line = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert line.startswith("gptsmith ") == on_path
    (folder / "my runs").mkdir()
    ran = subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "my runs" in ran.stderr
