"""Passages are found in their files, nearest to where they are expected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptsmith.data import passages as module
from gptsmith.data.passages import Found, SearchedFile, SearchedFiles

LINE = "Anna Berg, who is Änne\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "a.txt"
    found.write_text(LINE * 5, encoding="utf-8")
    return found


@pytest.mark.parametrize("off", [0, 1, -1, 10, -10])
def test_of_several_places_the_nearest_is_found(path: Path, off: int) -> None:
    size = len(LINE.encode())
    with SearchedFile(path) as file:
        for line in range(5):
            place = size * line
            assert file.find("Anna Berg", 0, 5 * size, max(0, place + off)) == Found(place, place + 9, line + 1)
        assert file.find("Anna Berg", size, 2 * size, 0) == Found(size, size + 9, 2)
        assert file.find("Bert", 0, 5 * size, 0) is None


def test_what_stands_where_it_is_expected_is_not_looked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a document is read again for each of its findings."""
    monkeypatch.setattr(module, "_spellings", None)
    with SearchedFile(path) as file:
        assert file.find("Änne", 0, 5 * len(LINE.encode()), 18) == Found(18, 23, 1)


def test_files_are_opened_one_after_the_other_and_may_be_gone(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.txt"
    other.write_text("Otto", encoding="utf-8")
    with SearchedFiles() as files:
        for _ in range(2):
            assert files.find(path, "who", 0, 20, 0) == Found(11, 14, 1)
            assert files.find(str(other), "Otto", 0, 4, 0) == Found(0, 4, 1)
            assert files.find(tmp_path / "gone", "Otto", 0, 4, 0) is None


@pytest.mark.parametrize(("question", "answer"), [("prompt", "response"), ("response", "prompt")])
@pytest.mark.parametrize("escapes", [True, False])
def test_a_passage_across_fields_is_from_the_first_part_to_the_last(
    question: str, answer: str, escapes: bool, tmp_path: Path
) -> None:
    rows = [{question: f"Who is {name}?", "id": 7, answer: f'He said "ä" of {name}.'} for name in ("Änne", "Otto")]
    lines = [(json.dumps(row, ensure_ascii=escapes) + "\n").encode() for row in rows]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(lines))
    begin, end = len(lines[0]), sum(map(len, lines))
    parts = {"prompt": "is Otto?", "response": 'He said "ä"'}
    if question == "response":
        parts = {"prompt": 'He said "ä"', "response": "is Otto?"}
    with SearchedFile(path) as file:
        found = file.find("\n\n".join(parts.values()), begin, end, begin)
        assert found is not None
        assert found.line == 2
        between = path.read_bytes()[found.start : found.stop].decode()
        assert between.startswith("is Otto?")
        assert between.endswith(json.dumps('"ä"', ensure_ascii=escapes)[1:-1])
        assert file.find("is Otto?\n\nis Emil", begin, end, begin) is None


def test_parts_that_are_far_apart_are_no_passage(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("Otto" + "<br>" * 2_000 + "Berg", encoding="utf-8")
    with SearchedFile(path) as file:
        assert file.find("Otto\n\nBerg", 0, 8_008, 0) is None
