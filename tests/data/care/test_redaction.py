"""Placeholders in the place of findings: nothing is left, nothing else changes, and no file does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.base.errors import ConfigurationError, DataError
from gptsmith.data.care import redaction as redaction_module
from gptsmith.data.care.finders import kinds_by_form
from gptsmith.data.care.finders.passage import PassageSettings
from gptsmith.data.care.findings import all_finders, findings
from gptsmith.data.care.redaction import RedactedDocument, Redaction
from gptsmith.data.prepare import prepare
from gptsmith.data.settings import DataSettings
from gptsmith.text.tokenizers import KINDS as TOKENIZERS
from gptsmith.train.example_sources import ExampleSources
from gptsmith.train.request import FinetuneRequest

from .test_finders import FOUND

PASSAGES = ("Anna Berg", "Berg lives", "MAIL", "> <", "at ")
FINDERS = [*all_finders(), PassageSettings(texts=PASSAGES)]
PLACEHOLDER = re.compile("|".join(finder.placeholder for finder in FINDERS))
PARTS = [text for texts in FOUND.values() for text in texts]
PIECES = st.sampled_from(
    [*PARTS, *PASSAGES, "Anna ", "<EMAIL>", "<PASSAGE>", "://", "@", "key: ", " ", "\n", "47", "-", "æ."]
)


def left_in(text: str) -> list[str]:
    """What is still found outside of placeholders."""
    spans = [match.span() for match in PLACEHOLDER.finditer(text)]
    every = findings(text, FINDERS)
    return [one.text for one in every if not any(s <= one.start and one.stop <= e for s, e in spans)]


@given(st.lists(PIECES, max_size=12).map("".join))
def test_nothing_is_left_nothing_else_changes_and_a_second_time_changes_nothing(text: str) -> None:
    redaction = Redaction(FINDERS)
    redacted, counts = redaction.redact(text)
    assert left_in(redacted) == []
    assert redaction.redact(redacted) == (redacted, {})
    assert (redacted == text) == (not counts)
    place = 0
    for stretch in PLACEHOLDER.split(redacted):  # each stands in the text, one behind the other
        place = text.index(stretch, place) + len(stretch)


def test_what_a_replacement_lays_bare_is_replaced_too() -> None:
    text = "+47 22 12 34 56 +47 22 12 34 57"
    assert len(findings(text, FINDERS)) == 1
    assert Redaction.of(["phone"], []).redact(text) == ("<PHONE> <PHONE>", {"phone": 2})


@given(st.lists(PIECES, max_size=40).map("".join), st.lists(st.integers(0, 400), max_size=6))
def test_a_document_that_comes_in_chunks_is_redacted_as_one(text: str, cuts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redaction_module, "BLOCK_CHARACTERS", 50)
        patch.setattr(redaction_module, "AROUND_CHARACTERS", 250)
        document = RedactedDocument(Redaction(FINDERS))
        edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
        chunks = [text[start:stop] for start, stop in pairwise(edges)]
        redacted = "".join(document.add(chunk, last=n == len(chunks) - 1) for n, chunk in enumerate(chunks))
    whole, counts = Redaction(FINDERS).redact(text)
    assert redacted == whole
    assert document.counts == counts


def test_memory_holds_a_block_of_a_long_document_and_time_does_not_grow_with_what_was_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redaction_module, "BLOCK_CHARACTERS", 1 << 18)
    monkeypatch.setattr(redaction_module, "AROUND_CHARACTERS", 1 << 13)
    redaction = Redaction.of(["email"], [])
    document, out = RedactedDocument(redaction), 0
    for number in range(20):
        out += len(document.add("".join(f"x{number}.{each}@example.org\n" for each in range(2_000)), last=False))
        held = len(document._before) + len(document._held) + document._length
        assert held < redaction_module.BLOCK_CHARACTERS + 4 * redaction_module.AROUND_CHARACTERS
    out += len(document.add("", last=True))
    assert document.counts == {"email": 40_000}
    assert out == 40_000 * len("<EMAIL>\n")


MAIL, SECRET = "zyxomma.petiolatum@example.org", "AKIAIOSFODNN7EXAMPLE"
FILES = {f"{number}.txt": f"{number}: " + "word " * (30 + number) for number in range(40)}
TEXTS = {
    **FILES,
    "a.txt": f"Write to {MAIL}, or to {MAIL}. " + "word " * 30,
    "b.txt": f"Write to {MAIL}, or to {MAIL}. " + "word " * 30,
    "c.txt": f"The key is {SECRET}. Zyxomma wrote it. " + "word " * 30,
}


def prepared(texts: Path, cache: Path, *passages: Path, **settings: Any) -> Any:
    return prepare(
        [texts], settings=DataSettings(**settings), tokenizer=TOKENIZERS.validate("bpe"), seed=1, cache=cache,
        redact_passages=passages,
    )  # fmt: skip


def test_a_corpus_has_placeholders_and_its_files_stay_as_they_are(write: Callable[..., Path], tmp_path: Path) -> None:
    texts, listed = write(TEXTS), tmp_path / "list.jsonl"
    lines = [{"kind": "passage", "text": "Zyxomma"}, {"kind": "email", "text": "wrote"}, {"sha256": "0" * 64}]
    listed.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    data = prepared(texts, tmp_path / "cache", listed, redact=True)
    assert data.summary["redacted"] == {"email": 2, "api_key": 1, "passage": 1}  # a copy is not counted
    assert data.summary["num_duplicates"] == 1
    for path in (tmp_path / "cache").rglob("*"):
        content = b"" if path.is_dir() else path.read_bytes()
        assert not any(word.encode() in content for word in (MAIL, SECRET, "Zyxomma")), path
    every = [data.corpus.text(document) for document in range(len(data.corpus))]
    assert "Write to <EMAIL>, or to <EMAIL>. " + "word " * 30 in every
    assert "The key is <API_KEY>. <PASSAGE> wrote it. " + "word " * 30 in every
    named = {row["sha256"].tobytes() for row in data.corpus.table}
    assert named == {sha256(text.encode()).digest() for text in TEXTS.values()}
    assert {path.name: path.read_text(encoding="utf-8") for path in texts.iterdir()} == TEXTS


def test_the_kinds_and_passages_decide_what_is_found_again(write: Callable[..., Path], tmp_path: Path) -> None:
    texts, cache, listed = write(TEXTS), tmp_path / "cache", tmp_path / "list.jsonl"
    listed.write_text(json.dumps({"kind": "passage", "text": "Zyxomma"}), encoding="utf-8")
    every = [
        prepared(texts, cache), prepared(texts, cache, redact=["email"]), prepared(texts, cache, redact=True),
        prepared(texts, cache, listed),
    ]  # fmt: skip
    assert len({data.fingerprint for data in every}) == 4
    assert [data.summary["redacted"] for data in every] == [
        {},
        {"email": 2},
        {"email": 2, "api_key": 1},
        {"passage": 1},
    ]
    assert prepared(texts, cache, redact=["email"]).fingerprint == every[1].fingerprint
    assert prepared(texts, cache, redact=["email"]).summary["redacted"] == {"email": 2}  # from the cache, too


def test_names_in_json_have_placeholders_and_no_value_is_lost() -> None:
    redaction = Redaction(all_finders())
    given = {"to": {"anna@example.org": 1, "bo@example.org": [{"cy@example.org": "dee@example.org"}]}}
    redacted_once = redaction.values(given)
    assert redacted_once == {"to": {"<EMAIL>": 1, "<EMAIL> 2": [{"<EMAIL>": "<EMAIL>"}]}}
    assert redaction.counts["email"] == 4
    assert redaction.values(redacted_once) == redacted_once


def test_examples_have_placeholders_in_every_text(tmp_path: Path) -> None:
    path, listed = tmp_path / "talk.jsonl", tmp_path / "list.jsonl"
    call = {"id": "1", "type": "function", "function": {"name": "mail", "arguments": {"to": [MAIL]}}}
    turns = [
        {"role": "user", "content": f"Write to {MAIL}"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": f"key = {SECRET}", "tool_call_id": "1"},
        {"role": "assistant", "content": "Done, Zyxomma."},
    ]
    rows = [
        {"messages": [{"role": "user", "content": f"Hi {n}"}, {"role": "assistant", "content": "Ho."}]}
        for n in range(9)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [{"messages": turns}, *rows]), encoding="utf-8")
    listed.write_text(json.dumps({"kind": "passage", "text": "Zyxomma"}), encoding="utf-8")
    request = FinetuneRequest(base="base", sources=[str(path)], redact_passages=[listed])
    table = {"data": {"redact": True}}
    sources = ExampleSources.of(table, request)
    splits = sources.splits(sources.shape())
    every = json.dumps(
        [vars(each) for split in (splits.train, splits.validation, splits.test) for each in split], default=dict
    )
    assert not any(word in every for word in (MAIL, SECRET, "Zyxomma"))
    assert "Write to <EMAIL>" in every
    assert splits.redacted == {"email": 2, "api_key": 1, "passage": 1}


@given(st.lists(st.text("ab \n", min_size=1, max_size=8), min_size=2, max_size=4), st.data())
def test_a_passage_across_fields_is_replaced_in_all_of_them(texts: list[str], data: st.DataObject) -> None:
    """Whatever an audit shows of a record, as the document that it reads, can be listed."""
    whole = "\n\n".join(texts)
    start = data.draw(st.integers(0, len(texts[0]) - 1))
    stop = data.draw(st.integers(len(whole) - len(texts[-1]) + 1, len(whole)))
    redaction = Redaction([PassageSettings(texts=(whole[start:stop],))])
    turns = [{"role": "user", "content": text} for text in texts]
    found = [turn["content"] for turn in redaction.record({"messages": turns, "id": 7})["messages"]]
    assert redaction.counts["passage"] >= 1
    assert found[0].startswith(texts[0][:start] + "<PASSAGE>") or start  # else an earlier part was one, too
    assert not any(turn in texts[1:-1] for turn in found[1:-1])
    assert whole[start:stop] not in "\n\n".join(found)


def test_across_fields_the_order_is_the_documents_and_the_rest_stays() -> None:
    redaction = Redaction([*all_finders(), PassageSettings(texts=("Anna\n\nBerg", "left\n\nalone"))])
    fields = {"id": 3, "output": f"Berg wrote to {MAIL}.", "role": "left", "input": "", "instruction": "I am Anna"}
    assert redaction.record(fields) == {
        "id": 3,
        "output": "<PASSAGE> wrote to <EMAIL>.",
        "role": "left",
        "input": "",
        "instruction": "I am <PASSAGE>",
    }
    assert redaction.counts == {"passage": 1, "email": 1}


def test_what_a_placeholder_looks_like_across_fields_is_replaced_once() -> None:
    redaction = Redaction([PassageSettings(texts=(">\n\n<", "b>\n\n<c", "PASSAGE>\n\nx"))])
    assert redaction.record({"a": "b>", "d": "<c", "e": "x"}) == {"a": "b<PASSAGE>", "d": "<PASSAGE>c", "e": "x"}
    assert redaction.counts == {"passage": 1}


BAD = {
    "nothing of the kind": ('{"kind": "email", "text": "a"}', "has no line of the kind passage or name"),
    "no text": ('{"kind": "passage"}', "line 1: a line of the kind passage needs the text"),
    "blank": ('{"kind": "passage", "text": " "}', "line 1: a line of the kind passage needs the text"),
    "not there": ('{"kind": "passage", "text": "Quagga"}', "none of the listed passages stands in these texts"),
    "words": ("Quagga", "line 1: not JSON"),
    "long.jsonl": ('{"kind": "passage", "text": "' + "x" * 70_000 + '"}', r"line 1: a passage of 70,000 characters"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_list_without_passages_of_these_texts_is_refused(
    name: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    content, message = BAD[name]
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        prepared(write(FILES), tmp_path / "cache", tmp_path / name)


def test_kinds_are_named() -> None:
    assert DataSettings(redact=True).redact == kinds_by_form()
    assert DataSettings(redact=False).redact == DataSettings().redact == []
    with pytest.raises(ConfigurationError, match=r"no such kind of finding: emial .did you mean email"):
        DataSettings.parse({"redact": ["emial"]}, "data")
