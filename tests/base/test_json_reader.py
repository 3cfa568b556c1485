"""JSON of other people: bounds of depth, size and numbers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.base import json_reader
from gptsmith.base.json_reader import MAX_DEPTH, parse_json, parse_json_sequence

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_any_json_is_read(value: object) -> None:
    assert parse_json(json.dumps(value)) == value


@given(st.lists(VALUES, max_size=4), st.sampled_from(["\n", ",\n", " , ", "\n\n"]))
def test_several_values_are_read_one_after_another(values: list[object], between: str) -> None:
    text = between.join(json.dumps(value, indent=1) for value in values)
    separated = text if between.strip() or between else f"{text} "
    assert [value for value, _ in parse_json_sequence(separated)] == values


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded(depth: int, opening: str, closing: str) -> None:
    for text in (opening * depth + "1" + closing * depth, opening * depth):
        with pytest.raises(ValueError, match=r"nested too deeply|Expecting value") as caught:
            parse_json(text)
        assert len(str(caught.value)) < 200
    as_deep_as_allowed = opening * MAX_DEPTH + "1" + closing * MAX_DEPTH
    assert json.dumps(parse_json(as_deep_as_allowed)).replace(" ", "") == as_deep_as_allowed


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 400, "1" * 5000, "NaN", "Infinity", "-Infinity"])
def test_numbers_that_no_float_holds_are_refused(number: str) -> None:
    with pytest.raises(ValueError, match=r"too large|no number of JSON") as caught:
        parse_json(f'{{"n": {number}}}')
    assert len(str(caught.value)) < 100


def test_nan_can_be_nothing() -> None:
    assert parse_json('[NaN, 1, -Infinity, "NaN"]', nan_is_null=True) == [None, 1, None, "NaN"]


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_reader, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match="too many for one JSON text"):
        parse_json('"' + "a" * 20 + '"')
