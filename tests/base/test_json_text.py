"""JSON is JSON everywhere: no NaN and no Infinity, whoever writes it."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import pytest

import gptsmith
from gptsmith.base.console import show_json
from gptsmith.base.files import write_json
from gptsmith.base.json_text import json_text
from gptsmith.base.runlog import RunLog

SICK = {"loss": math.nan, "losses": [math.inf, -math.inf, 1.5], "of": ({"a": math.nan},), "text": "é NaN"}
HEALTHY = {"loss": None, "losses": [None, None, 1.5], "of": [{"a": None}], "text": "é NaN"}


def strictly(text: str) -> object:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_numbers_that_are_not_finite_are_null() -> None:
    assert strictly(json_text(SICK)) == HEALTHY
    assert json_text({"é": 1.5}, ensure_ascii=False, indent=1) == json.dumps({"é": 1.5}, ensure_ascii=False, indent=1)


def test_files_logs_and_results_are_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "a.json", SICK)
    RunLog(tmp_path / "log.jsonl").append("step", **SICK)
    show_json(SICK)
    assert strictly((tmp_path / "a.json").read_text(encoding="utf-8")) == HEALTHY
    assert strictly((tmp_path / "log.jsonl").read_text(encoding="utf-8")) == {"event": "step", **HEALTHY}
    assert strictly(capsys.readouterr().out) == HEALTHY


WITH_THEIR_OWN = {
    "base/json_text.py",
    "data/example_store.py",  # gives back what it was given, such numbers too
    "serve/chat/structured_output.py",  # refuses a schema with such numbers
    "text/template_environment.py",  # what a template writes is text, as Transformers writes it
}


def test_nothing_else_in_the_package_makes_json() -> None:
    package = Path(gptsmith.__file__).parent
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_dump = isinstance(node, ast.Attribute) and node.attr in ("dump", "dumps")
            if is_dump and isinstance(node.value, ast.Name) and node.value.id == "json":
                found.add(path.relative_to(package).as_posix())
    assert found <= WITH_THEIR_OWN
