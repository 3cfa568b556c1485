"""Settings, files, the run log: what every room stands on."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from gptsmith.base.assignments import parse_assignment, with_assignments
from gptsmith.base.console import readable
from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes, require_room, write_atomically
from gptsmith.base.randomness import derived_seed
from gptsmith.base.runlog import RunLog
from gptsmith.base.settings import Settings, merged


class Inner(Settings):
    width: int = Field(default=4, gt=0)


class Outer(Settings):
    inner: Inner = Inner()
    name: str = "x"


def test_an_unknown_key_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"run\.toml: inner: no such setting: widht \(did you mean width\?\)"):
        Outer.parse({"inner": {"widht": 3}}, "run.toml")


def test_a_value_that_is_not_allowed_is_named_with_its_key() -> None:
    with pytest.raises(UserError, match=r"inner\.width: .*greater than 0 \(given: -1\)"):
        Outer.parse({"inner": {"width": -1}})


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("a.b=3", (["a", "b"], 3)),
        ("a=1e-3", (["a"], 0.001)),
        ("a=true", (["a"], True)),
        ("a=full", (["a"], "full")),
        ('a="x=y"', (["a"], "x=y")),
        ("a=[1, 2]", (["a"], [1, 2])),
    ],
)
def test_assignments_are_read_as_toml_or_text(assignment: str, expected: tuple) -> None:
    assert parse_assignment(assignment) == expected


@pytest.mark.parametrize("assignment", ["a", "=3", "a..b=3"])
def test_what_is_no_assignment_is_refused(assignment: str) -> None:
    with pytest.raises(UserError, match="key=value"):
        parse_assignment(assignment)


def test_another_kind_replaces_the_settings_of_the_one_below() -> None:
    below = {"norm": {"kind": "layernorm", "epsilon": 1}, "other": 2}
    assert merged(below, {"norm": {"epsilon": 3}})["norm"] == {"kind": "layernorm", "epsilon": 3}
    assert merged(below, {"norm": {"kind": "rmsnorm"}})["norm"] == {"kind": "rmsnorm"}
    assert with_assignments(below, ["norm=rmsnorm"]) == {"norm": {"kind": "rmsnorm"}, "other": 2}
    assert below["norm"] == {"kind": "layernorm", "epsilon": 1}


def test_a_write_that_fails_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_atomically(path, "old")

    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(UserError, match="no room on the disk"):
        write_atomically(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_too_small_is_named_before_the_work(tmp_path: Path) -> None:
    require_room(tmp_path / "not" / "there", 1, "this")
    with pytest.raises(UserError, match=r"this needs 1e\+06 TB|this needs 1,000,000 TB|this needs"):
        require_room(tmp_path, 10**18, "this")


def test_a_line_torn_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "metrics.jsonl")
    log.append("step", loss=1.5)
    log.append("sample", text="é")
    with log.path.open("a", encoding="utf-8") as file:
        file.write('{"event": "step", "lo')
    assert log.events() == [{"event": "step", "loss": 1.5}, {"event": "sample", "text": "é"}]
    assert log.events("sample") == [{"event": "sample", "text": "é"}]


def test_seeds_differ_by_name_and_stay_the_same() -> None:
    assert derived_seed(1, "order", 2) == derived_seed(1, "order", 2)
    assert len({derived_seed(1, "order", 2), derived_seed(1, "order", 3), derived_seed(2, "order", 2)}) == 3
    assert 0 <= derived_seed(0) < 2**63


def test_figures_are_readable() -> None:
    assert [readable(value) for value in (124439808, 1.47, 12345.6, True, "a")] == [
        "124,439,808",
        "1.47",
        "12,346",
        "yes",
        "a",
    ]
    assert [readable_bytes(n) for n in (5, 1500, 2.5e9)] == ["5 bytes", "1.5 kB", "2.5 GB"]


def test_the_tree_of_errors_is_the_one_that_is_written_out() -> None:
    """Each error in the docstring stands below the class that it is a subclass of."""
    import gptsmith
    from gptsmith.base import errors

    for name in ("ConfigurationError", "DataError", "CheckpointError", "ConversionError", "MissingExtraError"):
        assert f"── {name} " in (errors.__doc__ or "")
        assert issubclass(getattr(errors, name), errors.UserError)
        assert getattr(gptsmith, name) is getattr(errors, name)
    assert issubclass(errors.UserError, ValueError)


def test_a_key_in_the_wrong_group_is_named_by_its_whole_path() -> None:
    class Group(Settings):
        width: int = 1

    class Whole(Settings):
        group: Group = Group()
        height: int = 1

    for origin, path in (("model", "model.height"), ("settings", "height"), ("run.toml", "height")):
        with pytest.raises(UserError, match=rf"group: no such setting: height \(did you mean {path}\?\)"):
            Whole.parse({"group": {"height": 2}}, origin)
