"""A folder of files as the values of a setting."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest

from gptsmith.base.errors import MissingExtraError, UserError, did_you_mean
from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings, read_toml

BASE = """
from gptsmith.base.settings import Settings
class ShapeSettings(Settings):
    kind: str
"""
KIND = """
from typing import Literal
from {package} import ShapeSettings
class {name}(ShapeSettings):
    kind: Literal["{kind}"] = "{kind}"
    size: int = {size}
"""


@pytest.fixture
def kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kinds[Any]]:
    """A package of two kinds, made here."""
    package = "shapes_of_a_test"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text(BASE, encoding="utf-8")
    for kind, size in (("round", 1), ("square", 2)):
        text = KIND.format(package=package, name=kind.title(), kind=kind, size=size)
        (folder / f"{kind}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    base = importlib.import_module(package).ShapeSettings
    yield Kinds(package, base, default="square")
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def test_the_files_are_the_kinds(kinds: Kinds[Any]) -> None:
    assert kinds.names() == ["round", "square"]
    assert kinds.noun == "shapes_of_a_test"


def test_a_name_a_table_and_settings_mean_the_same(kinds: Kinds[Any]) -> None:
    named = kinds.validate("round")
    assert named.plain() == {"kind": "round", "size": 1}
    assert kinds.validate({"kind": "round"}) == named
    assert kinds.validate(named) is named
    assert kinds.validate({"size": 7}).plain() == {"kind": "square", "size": 7}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("rond", "no such kind of shapes_of_a_test: rond .did you mean round"),
        ("zzz", "allowed: round, square"),
        (3, "expected the name of"),
        ({"kind": 3}, "name a kind of shapes_of_a_test: round, square"),
    ],
)
def test_what_is_no_kind_is_refused(kinds: Kinds[Any], value: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        kinds.validate(value)


def test_a_field_of_a_kind_goes_to_plain_values_and_back(kinds: Kinds[Any]) -> None:
    class Drawing(Settings):
        shape: Annotated[kinds.base, kinds] = kinds.field("round", size=5)  # type: ignore[name-defined]

    assert Drawing().plain() == {"shape": {"kind": "round", "size": 5}}
    other = Drawing.parse({"shape": "square"})
    assert Drawing.parse(other.plain()) == other
    with pytest.raises(UserError, match="drawing: shape: no such setting: sise"):
        Drawing.parse({"shape": {"kind": "round", "sise": 1}}, "drawing")
    schema = Drawing.model_json_schema()["properties"]["shape"]
    assert {"enum": ["round", "square"]} in schema["anyOf"]


def test_a_file_with_two_kinds_is_our_mistake(kinds: Kinds[Any], tmp_path: Path) -> None:
    path = tmp_path / kinds.package / "round.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "class Second(ShapeSettings):\n    kind: str = 'x'\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="must define one subclass"):
        kinds.validate("round")


def test_settings_are_frozen(kinds: Kinds[Any]) -> None:
    with pytest.raises(ValueError, match="frozen"):
        kinds.validate("round").size = 3


def test_a_wrong_word_gets_the_nearest_or_all() -> None:
    assert did_you_mean("temprature", ["top_k", "temperature"]) == "did you mean temperature?"
    assert did_you_mean("zzz", {"b", "a"}) == "allowed: a, b"


def test_a_missing_library_says_how_to_install_it() -> None:
    assert "pip install 'gptsmith[search]'" in str(MissingExtraError("--trials", "gptsmith[search]"))
    assert "pip install pypdfium2" in str(MissingExtraError("PDF", "pypdfium2"))


def test_toml_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.toml cannot be read"):
        read_toml(tmp_path / "a.toml")
    for data in (b"a =", b"a = '\xff'"):
        (tmp_path / "a.toml").write_bytes(data)
        with pytest.raises(UserError, match=r"a\.toml is not (a TOML file|UTF-8 text)"):
            read_toml(tmp_path / "a.toml")
