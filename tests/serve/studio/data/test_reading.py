"""What was read of a collection, and examples as a model will see them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import UserError
from gptsmith.serve.studio.data.examples import examples
from gptsmith.serve.studio.data.reading import Reading, Readings

from ..conftest import Opened
from .test_recipes import CHATS, Mended


def read(studio: Opened, name: str) -> dict[str, Any]:
    """What the page is told of a reading when it is over."""
    data = studio.server.studio.data
    data.readings.of(data.collections.get(name)).is_over.wait()
    found: dict[str, Any] = studio.get(f"data/reading?name={name}")
    return found


def test_what_was_read_and_what_was_skipped_and_why(studio: Opened) -> None:
    texts = studio.folder / "texts"
    texts.mkdir()
    for name, text in {
        "a.txt": "one",
        "copy.txt": "one",
        "b.md": "two",
        "c.xyz": "x",
        "d.xyz": "x",
        "e.json": "{",
    }.items():
        (texts / name).write_text(text)
    studio.post("data/make", name="some", path="texts")
    found = read(studio, "some")
    assert found["state"] == "read"
    assert (found["num_documents"], found["num_bytes"], found["num_duplicates"]) == (2, 6, 1)
    assert [(each["reader"], each["num_files"], each["num_documents"]) for each in found["readers"]] == [
        ("md", 1, 1),
        ("txt", 2, 1),
    ]
    assert [(group["num_files"], group["files"]) for group in found["skipped"]] == [
        (2, ["c.xyz", "d.xyz"]),
        (1, ["e.json"]),
    ]
    (texts / "new.txt").write_text("three")
    assert read(studio, "some")["num_documents"] == 3, "files that are new are read"


def test_names_of_files_that_are_no_text_can_be_shown_and_mended(studio: Opened) -> None:
    texts = studio.folder / "odd"
    texts.mkdir()
    Path(os.fsdecode(os.fsencode(texts) + b"/\xff.txt")).write_text("odd")
    (texts / "a.txt").write_text("even")
    studio.post("data/make", name="odd", path="odd")
    read(studio, "odd")
    (row,) = (row for row in studio.get("data/documents?name=odd")["items"] if row["beginning"] == "odd")
    assert row["file"] == "\ufffd.txt"
    studio.post("data/edit", name="odd", document=row["document"], text="mended")
    assert studio.get(f"data/document?name=odd&document={row['document']}")["text"] == "mended"
    (source,) = studio.server.studio.data.arguments("odd")
    assert {path.read_text() for path in Path(source).iterdir()} == {"even", "mended"}


def test_files_without_text_say_so(studio: Opened) -> None:
    empty = studio.folder / "empty"
    empty.mkdir()
    (empty / "a.txt").write_text("")
    studio.post("data/make", name="empty", path="empty")
    found = read(studio, "empty")
    assert found["state"] == "failed"
    assert "no text in 1 file" in found["problem"]
    assert studio.ask("GET", "/studio/api/data/documents?name=empty").status == 400


def test_files_that_nobody_reads_are_listed(studio: Opened) -> None:
    pictures = studio.folder / "pictures"
    pictures.mkdir()
    (pictures / "a.xyz").write_text("x")
    made = studio.post("data/make", name="pictures", path="pictures")
    assert (made["num_files"], made["num_skipped"], made["kind"]) == (0, 1, None)
    (file,) = studio.get("data/files?name=pictures")["items"]
    assert (file["path"], file["skipped"]) == ("a.xyz", "unknown extension .xyz")
    assert "nothing to read" in read(studio, "pictures")["problem"]


def test_a_reading_that_was_cancelled_begins_when_it_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mended = Mended(tmp_path, {"a.txt": "one"})
    run = Reading.run

    def cancelled(reading: Reading) -> None:
        reading.is_cancelled = True
        run(reading)

    readings = Readings()
    monkeypatch.setattr(Reading, "run", cancelled)
    with pytest.raises(UserError, match="cancelled"):
        readings.read(mended.collection)
    monkeypatch.undo()
    assert readings.of(mended.collection, is_wanted=False).state == "cancelled"
    assert readings.read(mended.collection).state == "read"
    readings.close()


def test_examples_are_shown_as_a_model_sees_them(tmp_path: Path) -> None:
    records = {
        "a.jsonl": [*CHATS, {"messages": []}],
        "b.jsonl": [{"prompt": "Which?", "chosen": "Iron.", "rejected": "Tin, mail smith@example.org."}],
        "c.jsonl": [{"text": "Good iron", "label": "1"}],
        "d.jsonl": [{"prompt": "Hot?", "completion": "Yes.", "label": True}],
    }
    mended = Mended(
        tmp_path, {name: "".join(json.dumps(record) + "\n" for record in some) for name, some in records.items()}
    )
    mended.exclude(next(name for name in mended.names if "Cold" in mended.text(name)))
    mended.data.recipes.add(mended.collection, "redact", {"is_on": True})
    found = examples(mended.data.made(mended.collection), 0, 20)
    assert [each.get("kind", "problem") for each in found] == [
        "chat", "chat", "problem", "preference", "labelled", "unpaired_preference"
    ]  # fmt: skip
    hot, iron, bad, preference, labelled, unpaired = found
    assert [part["text"] for part in hot["parts"] if part["is_trained"]] == ["Very.<|im_end|>"]
    assert "<|im_start|>user\nHot?<|im_end|>" in hot["parts"][0]["text"]
    assert "mail <EMAIL>." in iron["parts"][1]["text"]
    assert bad["place"] == "a.jsonl, line 4"
    assert preference["fields"] == {"chosen": "Iron.", "rejected": "Tin, mail <EMAIL>."}
    assert preference["parts"][0]["text"].endswith("<|im_start|>assistant\n")
    assert labelled["fields"]["label"] == "1"
    assert unpaired["fields"] == {"completion": "Yes.", "is_desirable": True}
    assert examples(mended.data.made(mended.collection), 6, 20) == []
