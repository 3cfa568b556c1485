"""Passages are found in their files, nearest to where they are expected."""

from __future__ import annotations

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
