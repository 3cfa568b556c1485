"""Recipes: what is read by the words of a command line is what the page shows, whatever was changed and undone."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptsmith.base.cache_folder import default_cache
from gptsmith.base.errors import DataError, UserError
from gptsmith.data.care.cleaning import Cleaning
from gptsmith.data.corpus import read_corpus
from gptsmith.data.examples import ExampleReading, read_examples, read_shape
from gptsmith.data.settings import DataSettings
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.data import documents, made
from gptsmith.serve.studio.data.collections import Collection
from gptsmith.serve.studio.data.made import checked_edit
from gptsmith.serve.studio.data.recipes import Edit
from gptsmith.serve.studio.data.state import Data
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.place import Place

FILES = {
    "a.txt": "Write to smith@example.org about the forge.",
    "b.txt": "The forge is cold.\nIt snows.",
    "deep/c.md": "# Iron\n\nIt glows.",
    "copy.txt": "It snows.",
    "d.csv": "text,label\nGood iron,1\nBad iron,0\nGood coal,1\n",
    "e.jsonl": "".join(json.dumps({"text": text}) + "\n" for text in ("one", "It snows.", "three\nlines")),
}
CHATS = [
    {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
    for q, a in (("Hot?", "Very."), ("Cold?", "No."), ("Iron?", "Yes, mail smith@example.org."))
]


class Mended:
    """A collection "texts" of some files, and what is done with it."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        place = Place(folder)
        database = Database(place.database)
        self.data = Data(place, database, Jobs(database, place))
        self.collection: Collection = self.data.collections.make("texts")
        for name, text in files.items():
            path = self.collection.sources / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.before = {path: path.read_bytes() for path in self.collection.sources.rglob("*") if path.is_file()}
        self.reading = self.data.readings.read(self.collection)
        self.names = sorted(self.reading.number_of)

    def edit(self, name: str, given: str | dict[str, Any]) -> int:
        recipe = self.data.recipes.recipe(self.collection)
        before = documents.editable(self.reading, recipe, name)
        edit = documents.edited(before, given if isinstance(given, str) else json.dumps(given))
        edit = checked_edit(self.collection, self.reading.candidate_of(name), name, edit)
        return self.data.recipes.add(
            self.collection, "edit", {"document": name, "text": edit.text, "record": edit.record}
        )

    def exclude(self, *names: str) -> int:
        return self.data.recipes.add(self.collection, "exclude", {"documents": names})

    def text(self, name: str) -> str:
        return documents.read_text(self.reading, self.data.recipes.recipe(self.collection), name)

    def shown(self) -> list[str]:
        """The texts that the page shows as those that a model will read."""
        recipe = self.data.recipes.recipe(self.collection)
        rows = documents.rows(self.collection, self.reading, recipe, self.reading.order.tolist())
        texts = {
            recipe.edits[row["document"]].name if row["is_edited"] else row["document"]: documents.read_text(
                self.reading, recipe, row["document"]
            )
            for row in rows
            if not row["is_excluded"]
        }
        num_documents, num_bytes = documents.left(self.reading, recipe)
        assert num_documents == len(texts)
        if not recipe.redacts:
            assert num_bytes == sum(len(text.encode()) for text in texts.values())
        return sorted(texts.values())

    def read(self) -> list[str]:
        """The texts that pretraining reads by the words of the command line."""
        source, *options = self.data.arguments("texts")
        without = options[options.index("--without") + 1 :][:1] if "--without" in options else []
        settings = DataSettings.parse({"redact": "--redact" in options}, "data")
        cleaning = Cleaning.of(settings.redact, without, [])
        if set(self.names) <= cleaning.left_out.lists.get("".join(without), frozenset()):
            with pytest.raises(DataError, match="are left out"):
                read_corpus([source], settings, default_cache(), cleaning=cleaning)
            return []
        corpus = read_corpus([source], settings, default_cache(), cleaning=cleaning)
        cleaning.require_found()
        assert {path: path.read_bytes() for path in self.before} == self.before
        return sorted(corpus.text(number) for number in range(len(corpus)))


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Mended:
    return Mended(tmp_path_factory.mktemp("mended"), FILES)


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("exclude"), st.integers(0, 8)),
        st.tuples(
            st.just("edit"), st.integers(0, 8), st.sampled_from(["new\r\ntext", "It snows.", "é a@b.org", "one"])
        ),
        st.tuples(st.just("redact"), st.booleans()),
        st.tuples(st.just("undo"), st.integers(0, 8)),
    ),
    max_size=7,
)


@given(CHANGES)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_what_is_trained_on_is_what_is_shown(mended: Mended, changes: list[tuple[Any, ...]]) -> None:
    recipes, collection = mended.data.recipes, mended.collection
    done: list[int] = []
    for kind, *values in changes:
        name = mended.names[values[0] % len(mended.names)]
        if kind == "exclude":
            done.append(mended.exclude(name))
        elif kind == "redact":
            done.append(recipes.add(collection, "redact", {"is_on": values[0]}))
        elif kind == "undo" and done:
            recipes.undo(collection, done.pop(values[0] % len(done)))
        elif kind == "edit":
            before = documents.editable(mended.reading, recipes.recipe(collection), name)
            is_text = documents.record_as_text(before) is None
            done.append(mended.edit(name, values[1] if is_text else {**(before.record or {}), "text": values[1]}))
    try:
        assert mended.read() == mended.shown()
    finally:
        for number in done:
            recipes.undo(collection, number)


def test_every_document_can_be_taken_out(mended: Mended) -> None:
    number = mended.exclude(*mended.names)
    assert mended.read() == mended.shown() == []
    mended.data.recipes.undo(mended.collection, number)
    assert mended.data.arguments("texts") == [str(mended.collection.sources)]
    assert len(mended.read()) == len(mended.names)
    with pytest.raises(ApiError, match="undone already"):
        mended.data.recipes.undo(mended.collection, number)


def test_copies_in_other_files_are_edited_too(tmp_path: Path) -> None:
    edited_in = set()
    for number in range(6):
        files = {
            "a.txt": f"same {number}",
            "b.jsonl": json.dumps({"text": f"same {number}"}),
            "c.csv": f"body,n\nsame {number},1\n",
        }
        mended = Mended(tmp_path / str(number), files)
        (name,) = mended.names
        edited_in.add(mended.reading.file_of(name).suffix)
        given = documents.record_as_text(
            documents.editable(mended.reading, mended.data.recipes.recipe(mended.collection), name)
        )
        mended.edit(name, "new" if given is None else given.replace(f"same {number}", "new"))
        assert mended.read() == mended.shown() == ["new"]
    assert len(edited_in) > 1


def test_an_edit_of_what_is_not_there_any_more_is_left_alone(tmp_path: Path) -> None:
    mended = Mended(tmp_path, {"a.txt": "one", "b.txt": "two"})
    name = next(name for name in mended.names if mended.reading.file_of(name).name == "a.txt")
    mended.edit(name, "three")
    assert mended.read() == ["three", "two"]
    before = mended.data.arguments("texts")
    (mended.collection.sources / "a.txt").write_text("another one")
    mended.reading = mended.data.readings.read(mended.collection)
    mended.before = {}
    assert mended.read() == mended.shown() == ["another one", "two"]
    assert Path(before[0]).is_dir(), "runs that were made of it can be resumed"


@pytest.mark.parametrize("text", ["", " \n", "[01/02/2024, 10:11:12] Anna: hi\n[01/02/2024, 10:11:13] Bob: hello\n"])
def test_a_text_that_would_be_read_otherwise_is_refused(mended: Mended, text: str) -> None:
    name = next(name for name in mended.names if mended.reading.file_of(name).name == "b.txt")
    with pytest.raises(DataError):
        mended.edit(name, text)
    assert list(mended.collection.home.glob(".tmp*")) == []


def test_a_record_keeps_its_shape(tmp_path: Path) -> None:
    mended = Mended(tmp_path, {"chats.jsonl": "".join(json.dumps(chat) + "\n" for chat in CHATS)})
    name = next(name for name in mended.names if "Cold" in mended.text(name))
    for bad in ("{", "[]", '{"text": "x"}', '{"messages": []}', '{"messages": [{"role": "user", "content": "?"}]}'):
        with pytest.raises(DataError):
            mended.edit(name, bad)
    mended.edit(name, {"messages": [{"role": "user", "content": "Warm?"}, {"role": "assistant", "content": "A bit."}]})
    mended.exclude(next(name for name in mended.names if "Hot" in mended.text(name)))
    source, _, without = mended.data.arguments("texts")
    cleaning = Cleaning.of([], [without], [])
    found = read_examples([source], read_shape([source]), ExampleReading(cleaning=cleaning))
    assert [example.messages[0]["content"] for example in found.examples] == ["Warm?", "Iron?"]


def test_a_label_is_mended_though_the_text_stays(tmp_path: Path) -> None:
    mended = Mended(
        tmp_path, {"d.csv": FILES["d.csv"], "train/e.csv": "text,label\nhm,1\n", "test/f.csv": "text,label\nha,1\n"}
    )
    name = next(name for name in mended.names if name == Edit("Bad iron").name)
    mended.edit(name, {"text": "Bad iron", "label": "1"})
    (source,) = mended.data.arguments("texts")
    found = read_examples([f"{source}/d.csv.jsonl"], "labelled")
    assert [(example.texts[0], example.label) for example in found.examples] == [
        ("Good iron", "1"),
        ("Bad iron", "1"),
        ("Good coal", "1"),
    ]
    assert mended.read() == mended.shown()
    assert {path.name for path in Path(source).rglob("*.*")} == {"d.csv.jsonl", "e.csv", "f.csv"}


def test_a_long_document_is_shown_in_windows_that_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Größe 😀 and iron. " * 700
    mended = Mended(tmp_path, {"a.txt": text})
    recipe = mended.data.recipes.recipe(mended.collection)
    monkeypatch.setattr(documents, "WINDOW", 1001)
    for long_bytes in (1 << 20, 100):
        monkeypatch.setattr(documents, "LONG_BYTES", long_bytes)
        seen, start, size = "", 0, 1
        while start < size:
            window = documents.shown(mended.collection, mended.reading, recipe, mended.names[0], start)
            seen += window["text"]
            start, size = window["stop"], window["size"]
        assert seen == text


def test_the_source_is_shown_where_it_is_text(tmp_path: Path) -> None:
    mended = Mended(tmp_path, {"a.html": "<p>Iron &amp; coal</p>", "d.csv": FILES["d.csv"]})
    recipe = mended.data.recipes.recipe(mended.collection)
    shown = {
        window["text"]: window["source"]
        for window in (documents.shown(mended.collection, mended.reading, recipe, name, 0) for name in mended.names)
    }
    assert shown["Iron & coal"] == "<p>Iron &amp; coal</p>"
    assert shown["Bad iron"].strip() == "Bad iron,0"


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mended = Mended(tmp_path, {"a.txt": "one", "b.txt": "two"})
    mended.edit(mended.names[0], "three")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(made, "sync_file", full)
    with pytest.raises(UserError, match="no room on the disk"):
        mended.data.arguments("texts")
    assert list((mended.collection.home / "made").iterdir()) == []
    monkeypatch.undo()
    assert mended.read() == mended.shown()
