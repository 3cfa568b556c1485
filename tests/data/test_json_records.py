"""The same records in all the clothes that JSON wears."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptsmith.base.errors import UserError
from gptsmith.data.examples import read_examples, read_shape

RECORDS = [{"text": f"the ticket number {number} says so", "label": "ab"[number % 2]} for number in range(3)]
COLUMNS = {name: [record[name] for record in RECORDS] for name in ("text", "label")}
CLOTHES = {
    "a list in .jsonl": (".jsonl", json.dumps(RECORDS, indent=0)),
    "a list on one line of .jsonl": (".jsonl", json.dumps(RECORDS)),
    "commas at the ends of lines": (".jsonl", ",\n".join(map(json.dumps, RECORDS)) + ",\n"),
    "several lines each": (".jsonl", "\n".join(json.dumps(record, indent=2) for record in RECORDS)),
    "several lines each in .json": (".json", "\n".join(json.dumps(record, indent=2) for record in RECORDS)),
    "lines in .json": (".json", "\n".join(map(json.dumps, RECORDS))),
    "a list": (".json", json.dumps(RECORDS)),
    "data": (".json", json.dumps({"data": RECORDS, "version": 1})),
    "rows of the Hub": (".json", json.dumps({"rows": [{"row_idx": 0, "row": record} for record in RECORDS]})),
    "columns": (".json", json.dumps(COLUMNS, indent=1)),
    "pandas columns": (".json", json.dumps({name: dict(enumerate(column)) for name, column in COLUMNS.items()})),
    "pandas index": (".json", json.dumps(dict(enumerate(RECORDS)))),
    "pandas split": (
        ".json",
        json.dumps({"columns": [*COLUMNS], "index": [0, 1, 2], "data": [[*record.values()] for record in RECORDS]}),
    ),
    "pandas table": (".json", json.dumps({"schema": {"fields": []}, "data": RECORDS})),
    "by id": (".json", json.dumps({f"q{number}": record for number, record in enumerate(RECORDS)})),
}


@pytest.mark.parametrize("clothes", CLOTHES)
def test_the_records_are_the_same(tmp_path: Path, clothes: str) -> None:
    extension, content = CLOTHES[clothes]
    path = tmp_path / f"data{extension}"
    path.write_text(content, encoding="utf-8")
    assert read_shape([path]) == "labelled"
    found = read_examples([path], "labelled").examples
    assert [{"text": each.texts[0], "label": each.label} for each in found] == RECORDS  # type: ignore[attr-defined]


TURNS = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]


@pytest.mark.parametrize(
    "value",
    [{"messages": TURNS}, [{"messages": TURNS}], {"messages": [TURNS]}, [TURNS], TURNS, {"conversations": TURNS}],
)
def test_a_conversation_is_no_table(tmp_path: Path, value: object) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
    (example,) = read_examples([path], "chat").examples
    assert [dict(message) for message in example.messages] == TURNS  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "content",
    [
        "{" * 5000,
        "[" * 100_000,
        '{"a":' * 900 + "1" + "}" * 900,
        json.dumps({"x": ["y" * 100_000] * 3}),
        "5",
        '{"text": 1e999}',
    ],
)
@pytest.mark.parametrize("extension", [".json", ".jsonl"])
def test_anything_else_is_one_short_line(tmp_path: Path, content: str, extension: str) -> None:
    path = tmp_path / f"data{extension}"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_examples([path], read_shape([path]))
    assert len(str(caught.value)) < 1200
    assert "\n" not in str(caught.value)
