"""What the documentation says is there is there."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer

from gptsmith.cli import VERBS, app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs").glob("**/*.md")), *sorted(ROOT.glob("*.md"))]
COMMANDS = sorted(
    {
        line.removeprefix("$ ").split("  #")[0].strip()
        for page in PAGES
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for line in block.splitlines()
        if line.removeprefix("$ ").startswith("gptsmith ")
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_shown_has_a_verb_and_options_that_exist(command: str) -> None:
    _, verb, *arguments = shlex.split(command)
    if verb in ("--help", "--version"):
        return
    assert verb in VERBS
    group = typer.main.get_command(app)
    options = {name for parameter in group.get_command(None, verb).params for name in parameter.opts}
    for argument in arguments:
        if argument.startswith("--"):
            assert argument in options


def test_enough_commands_are_shown_to_be_worth_a_test() -> None:
    assert {shlex.split(command)[1] for command in COMMANDS} >= set(VERBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_verb_has_a_page() -> None:
    assert all((ROOT / "docs" / f"{verb}.md").is_file() for verb in VERBS)


def test_the_page_of_settings_is_that_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("make_settings", ROOT / "docs" / "make_settings.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == module.page()
