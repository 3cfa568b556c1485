"""What is found in a folder, and how the index follows the files."""

from __future__ import annotations

import os
import sqlite3
import threading
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import DataError
from gptsmith.data.cache_contents import contents
from gptsmith.retrieval import index
from gptsmith.retrieval.documents import DATABASE, Documents

CHANGED = "The forge was sold to Ines Trevose in 1902.\n"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    read: list[str] = []
    usual = index.read_passages

    def noted(candidate, **more):  # type: ignore[no-untyped-def]
        read.append(candidate.file.path.name)
        return usual(candidate, **more)

    monkeypatch.setattr(index, "read_passages", noted)
    return read


@pytest.mark.parametrize(
    ("question", "place"),
    [
        ("Who opened the forge?", "forge.md, line 5, The forge > Steel"),
        ("What did ploughshares cost?", "forge.md, line 9, The forge > Prices"),
        ("老铁匠叫什么名字？", "china.txt, line 1"),
        ("哪里有剑？", "china.txt, line 1"),
        ("When does the ferry to Mull leave?", "trips/sea.txt, line 1"),
    ],
)
def test_the_passage_that_answers_comes_first(documents: Documents, question: str, place: str) -> None:
    assert documents.search(question)[0].place == place


@pytest.mark.parametrize(
    "question", ["Who is the president of Zimbabwe?", "法国总统是谁？", "What is it?", "", '"" OR *', "x" * 10_000]
)
def test_nothing_is_found_where_nothing_fits(documents: Documents, question: str) -> None:
    assert documents.search(question) == []


def test_diacritics_and_endings_do_not_matter(folder: Path) -> None:
    (folder / "cafe.txt").write_text("Das Café Fräulein röstet Bohnen aus Äthiopien.\n", encoding="utf-8")
    found = Documents([folder])
    assert found.search("fraulein athiopien cafe")[0].file == "cafe.txt"
    assert found.search("Opening of forges")[0].file == "forge.md"
    (folder / "hanoi.txt").write_text(unicodedata.normalize("NFD", "Lò rèn ở Hà Nội bán dao.\n"), encoding="utf-8")
    assert Documents([folder]).search("lò rèn Hà Nội")[0].file == "hanoi.txt"
    assert Documents([folder]).search(unicodedata.normalize("NFD", "lò rèn Hà Nội"))[0].file == "hanoi.txt"


def test_only_what_changed_is_read_again(folder: Path, reads: list[str]) -> None:
    Documents([folder])
    assert sorted(reads) == ["china.txt", "forge.md", "sea.txt"]
    reads.clear()
    documents = Documents([folder])
    assert reads == []
    os.utime(folder / "china.txt", (1, 1))
    (folder / "forge.md").write_text(CHANGED)
    (folder / "trips" / "sea.txt").rename(folder / "ferry.txt")
    (folder / "copy.txt").write_bytes((folder / "china.txt").read_bytes())
    documents.refresh()
    assert reads == ["forge.md"]
    assert documents.search("Who was the forge sold to?")[0].text == CHANGED.strip()
    assert documents.search("Who opened it, quenched in whale oil?") == []
    assert documents.search("When does the ferry to Mull leave?")[0].file == "ferry.txt"
    assert [source.file for source in documents.search("老铁匠")] == ["china.txt"]


def test_what_is_deleted_leaves(folder: Path, documents: Documents) -> None:
    (folder / "forge.md").unlink()
    documents.refresh()
    assert documents.search("Who opened the forge?") == []
    assert documents.index.counts() == (2, 2)
    for name in ("china.txt", "trips/sea.txt"):
        (folder / name).unlink()
    documents.refresh()
    assert documents.index.counts() == (0, 0)
    assert documents.search("ferry Mull") == []


def test_a_folder_that_is_away_is_left_as_it_was(folder: Path, documents: Documents) -> None:
    folder.rename(folder.with_name("away"))
    documents.refresh()
    assert documents.index.counts()[0] == 3


def test_a_question_follows_what_has_changed(
    folder: Path, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "forge.md").write_text(CHANGED)
    assert documents.search("Who was the forge sold to? Trevose?") == []
    monkeypatch.setattr("gptsmith.retrieval.documents.LOOK_EVERY_S", 0.0)
    assert documents.search("Who was the forge sold to? Trevose?")[0].text == CHANGED.strip()


def test_files_that_cannot_be_read_are_named_and_not_tried_again(folder: Path, reads: list[str]) -> None:
    (folder / "broken.docx").write_bytes(b"no zip")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8")
    documents = Documents([folder])
    assert sorted(documents.skipped) == ["broken.docx", "photo.jpg"]
    reads.clear()
    assert "broken.docx" in " ".join(Documents([folder]).skipped)
    assert reads == []


def test_there_must_be_something_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to read"):
        Documents([tmp_path])
    with pytest.raises(DataError, match="no such file or folder"):
        Documents([tmp_path / "missing"])


def test_a_damaged_index_is_made_again(folder: Path) -> None:
    database = Documents([folder]).folder / DATABASE
    database.write_bytes(b"no database, " * 1000)
    assert Documents([folder]).index.counts() == (3, 5)


def test_a_passage_is_shown_with_its_neighbours(documents: Documents) -> None:
    (source, *_) = documents.search("Who quenched blades in whale oil?")
    before, passage, after = documents.passage(source.id)
    assert passage.text == source.text
    assert before.text.startswith("# The forge")
    assert after.text.startswith("## Prices")
    for gone in ("", "x", "x-1", source.id.replace("-", "-9"), f"{source.id}-1", f"{source.id}" + "9" * 30):
        assert documents.passage(gone) == []


def test_records_are_documents_with_their_lines(folder: Path) -> None:
    (folder / "posts.jsonl").write_text('{"text": "A first post."}\n{"text": "The heron nests \\u00fcber the weir."}\n')
    documents = Documents([folder])
    (source,) = documents.search("heron weir")
    assert source.place == "posts.jsonl, line 2"
    assert documents.passage(source.id) == [source] or len(documents.passage(source.id)) == 1


def test_several_folders_are_told_apart(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "letters"
    other.mkdir()
    (other / "forge.md").write_text("The heron nests over the weir.")
    assert Documents([folder, other]).search("heron weir")[0].file == "letters/forge.md"


def test_the_cache_lists_it(folder: Path, documents: Documents, tmp_path: Path) -> None:
    (listed,) = [one for one in contents(tmp_path / "cache") if one.kind == "documents"]
    assert listed.made_from == "notes"
    assert not listed.empty(even_if_just_used=True)


def test_a_full_disk_is_said_and_questions_are_looked_up_in_what_is_known(
    folder: Path, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    (folder / "forge.md").write_text(CHANGED)
    monkeypatch.setattr(index, "_keep", full)
    documents.refresh()
    assert documents.skipped == {
        "notes": "what has changed in it is not known: the index of documents cannot be used: database or disk is full"
    }
    assert documents.search("Who opened the forge?")[0].file == "forge.md"
    with pytest.raises(DataError, match="the index of documents cannot be used: database or disk is full"):
        Documents([folder])
    monkeypatch.undo()


def test_what_another_process_forgets_in_between_is_read_the_next_time(
    folder: Path, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = index._keep

    def forgetful(database: sqlite3.Connection, files: Any) -> None:
        index._forget(database, [path for (path,) in database.execute("SELECT path FROM files")])
        keep(database, files)

    (folder / "copy.md").write_bytes((folder / "forge.md").read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(index, "_keep", forgetful)
        documents.refresh()
    assert documents.search("Who opened the forge?") == []
    documents.refresh()
    assert documents.search("Who opened the forge?")[0].file == "copy.md"
    assert documents.index.counts()[0] == 4


def test_halves_of_surrogate_pairs_are_no_harm(folder: Path) -> None:
    (folder / "odd.jsonl").write_text('{"text": "The heron nests \\ud83d over the weir."}\n')
    assert Documents([folder]).search("heron weir \ud83d")[0].file == "odd.jsonl"


def test_a_pattern_and_a_folder_by_another_name_are_followed_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    Documents([folder])
    monkeypatch.chdir(folder.parent)
    assert Documents(["notes"]).index.path == Documents([folder]).index.path
    assert sorted(reads) == ["china.txt", "forge.md", "sea.txt"]
    some = Documents([str(folder / "*.md")])
    assert some.search("Who opened the forge?")[0].file == "forge.md"
    (folder / "heron.md").write_text("The heron nests over the weir.")
    some.refresh()
    assert some.search("heron weir")[0].file == "heron.md"


def test_no_question_waits_long_for_files_that_are_read(documents: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()
    looks: list[int] = []

    def slow() -> None:
        looks.append(1)
        is_over.wait(30)

    monkeypatch.setattr(documents, "refresh", slow)
    monkeypatch.setattr("gptsmith.retrieval.documents.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("gptsmith.retrieval.documents.WAIT_S", 0.0)
    for _ in range(3):
        assert documents.search("Who opened the forge?")
    assert looks == [1]  # and no second one begins meanwhile
    is_over.set()
