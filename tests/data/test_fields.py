"""Which values are text, and which field of a record is its text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.base.errors import UserError
from gptsmith.data.corpus import read_corpus
from gptsmith.data.fields import NOT_TEXT, PROSE, WORDS, is_named_like_text, plain_name, value_kind
from gptsmith.data.readers import ReadSettings, Record
from gptsmith.data.records import chosen_fields, document, text_length


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("links", ["https://forum.example.org/a/b?c=1", "www.example.org", "me@example.org"]),
        ("identifiers", ["6a5f9e2c1d", "550e8400-e29b-41d4-a716-446655440000", "sha256:abcdef0123456789", "user17"]),
        ("paths", ["src/main.py", "/home/me/my file.txt", "C:\\My Docs\\x.pdf", "report.pdf"]),
        ("dates", ["2024-01-01T10:00:00Z", "12/01/23", "Mon, 12 Jan 2023 10:00:00 +0000", "Jan 12, 2023", "10:30 PM"]),
        ("numbers", ["0", "-1,234.5", "$5.00", "1e-5", "12 %"]),
        (PROSE, ["Nothing works, sadly. (0)", "It is 5.", "The 3 men came.", "これは文章です", "def f(x): return x"]),
        (WORDS, ["technical", "Emma", "Go.", "1 + 2 = 3"]),
    ],
)
def test_values_are_known_by_their_form(kind: str, values: list[str]) -> None:
    assert [value_kind(value) for value in values] == [kind] * len(values)


@given(st.text(max_size=2000))
def test_every_value_is_of_one_kind(value: str) -> None:
    assert value_kind(value) in {PROSE, WORDS, *(kind for kind, _ in NOT_TEXT)}


def test_names_of_ids_links_and_dates_are_known() -> None:
    for name in ("id", "userId", "created_at", "Permalink", "file_path", "message-id", "Date", "rejected"):
        assert not is_named_like_text(name), name
    for name in ("comment", "grid", "update", "candidate", "sentence", "chosen"):
        assert is_named_like_text(name), name
    assert plain_name('\ufeff "Label" ') == "label"


LINK = "https://forum.example.org/r/gardening/comments/629f6fbd82c07cd/how_do_i_keep_slugs_off_my_lettuce/"


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({"permalink": LINK, "comment": "Beer traps."}, "comment"),
        ({"hash": "ab" * 32, "note": "A short note."}, "note"),
        ({"path": "/very/long/path/to/some/file/of/a/project.py", "summary": "It adds."}, "summary"),
        ({"document": "doc/0001.pdf", "passage": "Once upon a time."}, "passage"),
        ({"id": "a longer one than the text", "story": "A tale."}, "story"),
        ({"Text": "t", "story": "The longer one."}, "Text"),
        ({"name": "Emma"}, "name"),
    ],
)
def test_ids_links_and_paths_are_never_the_text(record: dict[str, Any], field: str) -> None:
    assert chosen_fields(Path("a.jsonl"), [record], None) == (field,)


@pytest.mark.parametrize(
    "samples",
    [
        [{"id": "6a5f9e2c1d", "url": LINK, "n": 5}] * 3,
        [{"status": "open"}, {"status": "closed"}, {"status": "open"}, {"status": "open"}],
        [{"title": "Bread", "mapping": {"a": {"text": "words"}}}],
    ],
)
def test_where_nothing_looks_like_text_the_fields_are_listed(samples: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError, match=r"no field that looks like text \(fields: .*text_field=NAME") as caught:
        chosen_fields(Path("a.jsonl"), samples, None)
    assert all(name in str(caught.value) for name in samples[0])


def test_the_chosen_field_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "comments.csv"
    path.write_text(f"permalink,comment\n{LINK}1,Beer traps.\n{LINK}2,Copper tape.\n", encoding="utf-8")
    (tmp_path / "book.txt").write_text("Once.", encoding="utf-8")
    for _ in range(2):  # read, and found in the cache
        corpus = read_corpus([path, tmp_path / "book.txt"], ReadSettings(), tmp_path / "cache")
        assert corpus.summary["text_fields"] == {str(path): ["comment"]}
    assert json.loads(json.dumps(corpus.summary)) == corpus.summary


def test_values_that_are_nested_too_deeply_are_no_text() -> None:
    value: Any = "words of a text"
    for _ in range(5000):
        value = [value]
    assert text_length(value) == 0
    with pytest.raises(UserError, match="holds values nested too deeply, not text"):
        list(document(Path("a.parquet"), Record({"text": value}, "row 1", 0, 1), ("text",)))
