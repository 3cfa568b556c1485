"""Documents and examples that a list names are not learnt from; a list that is none is said to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gptsmith
from gptsmith.base.console import meter
from gptsmith.base.errors import DataError
from gptsmith.data.care.cleaning import Cleaning
from gptsmith.data.care.finders.passage import PassageSettings
from gptsmith.data.care.left_out import KeptRows, LeftOutDocuments, name_of, named
from gptsmith.data.care.placed_findings import findings_of
from gptsmith.data.corpus import read_corpus
from gptsmith.data.discover import discover
from gptsmith.data.prepare import prepare
from gptsmith.data.readers import Record
from gptsmith.data.reading import read_documents
from gptsmith.data.settings import DataSettings
from gptsmith.text.tokenizers import KINDS
from gptsmith.train.example_sources import ExampleSources
from gptsmith.train.request import FinetuneRequest
from tests.data.readers.test_contract import office_package, write_package

SECRET = "Zyxomma"
FILES = {f"{number}.txt": f"{number}: " + "word " * (30 + number) for number in range(40)}
WITH_SECRET = {**FILES, "a.txt": f"{SECRET} wrote this. " * 9, "b.txt": f"And {SECRET} that. " * 9}


def listed(path: Path, *texts: str) -> Path:
    names = [{"kind": "email", "sha256": sha256(text.encode()).hexdigest()} for text in texts]
    lines = [{"kind": "passage", "text": SECRET}, *names]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_what_is_left_out_is_in_no_corpus_no_tokens_and_no_tokenizer(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    texts, cache = write(WITH_SECRET), tmp_path / "cache"
    two = listed(tmp_path / "two.jsonl", WITH_SECRET["a.txt"], WITH_SECRET["b.txt"])
    first, second = listed(tmp_path / "1.jsonl", WITH_SECRET["a.txt"]), listed(tmp_path / "2", WITH_SECRET["b.txt"])

    def prepared(*without: Path) -> Any:
        tokenizer = KINDS.validate("bpe")
        return prepare([texts], settings=DataSettings(), tokenizer=tokenizer, seed=1, cache=cache, without=without)

    data = prepared(two)
    assert data.summary["num_left_out"] == 2
    assert data.summary["num_documents"] == len(FILES)
    for path in cache.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in data.tokenizer.decode(data.train.slice(0, len(data.train)).tolist())
    # The lists' content decides what is found again, not their names or how many they are.
    assert prepared(first, second).fingerprint == data.fingerprint
    assert prepared(first).fingerprint != data.fingerprint
    assert prepared(first).summary["num_left_out"] == 1
    assert prepared().summary["num_left_out"] == 0
    assert prepared().summary["num_documents"] == len(WITH_SECRET)


def test_documents_of_validation_files_are_left_out_too(write: Callable[..., Path], tmp_path: Path) -> None:
    texts, held_out = write(FILES), tmp_path / "held_out.jsonl"
    rows = [f"{number} is for validation. " * 9 for number in range(9)]
    held_out.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    data = prepare(
        [texts], validation=[held_out], settings=DataSettings(), tokenizer=KINDS.validate("bytes"), seed=1,
        cache=tmp_path / "cache", without=[listed(tmp_path / "found.jsonl", rows[3])],
    )  # fmt: skip
    assert data.summary["validation_sources"]["num_left_out"] == 1
    assert data.summary["validation"]["num_documents"] == 8


RECORDS: dict[str, list[dict[str, Any]]] = {
    "chat.jsonl": [{"question": f"What is {number}?", "answer": f"A number, {number}."} for number in range(30)],
    "turns.json": [
        {"messages": [{"role": "user", "content": f"Hi {number}"}, {"role": "assistant", "content": "Hello."}]}
        for number in range(30)
    ],
    "reviews.csv": [{"text": f"It cost {number} crowns, too much.", "label": f"{number % 2}"} for number in range(30)],
    "people.json": [
        {"id": number, "type": "message", "from": name,
         "date": f"2026-01-{1 + number:02}T12:00", "text": f"{number} ok"}
        for number in range(28)
        for name in ("Anna", "Bo")
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_examples_are_left_out_by_their_texts_as_documents(name: str, tmp_path: Path) -> None:
    records, path = RECORDS[name], tmp_path / name
    if name.endswith(".csv"):
        rows = [",".join(f'"{cell}"' for cell in row) for row in ([*records[0]], *(row.values() for row in records))]
        path.write_text("\n".join(rows), encoding="utf-8")
    elif name == "people.json":
        path.write_text(
            json.dumps({"name": "Bo", "type": "personal_chat", "id": 1, "messages": records}), encoding="utf-8"
        )
    else:
        lines = "".join(json.dumps(row) + "\n" for row in records)
        path.write_text(lines if name.endswith("l") else json.dumps(records), encoding="utf-8")
    (candidate,) = discover([path]).candidates
    texts = [chunk.text for chunk in read_documents(candidate.reader, candidate.file, DataSettings())]
    request = FinetuneRequest(base="base", sources=[str(path)], without=[listed(tmp_path / "list", *texts[3:5])])
    table = {"examples": {"me": "Bo"} if name == "people.json" else {}}
    sources = ExampleSources.of(table, request)
    splits = sources.splits(sources.shape())
    left = [
        text for split in (splits.train, splits.validation, splits.test) for each in split for text in each.every_text()
    ]
    assert splits.num_left_out == 2
    assert len(splits.train) + len(splits.validation) + len(splits.test) + splits.num_dropped == len(texts) - 2
    assert not any(text in named for text in left if len(text) > 8 for named in texts[3:5])


BAD = {
    "missing.jsonl": (None, "cannot be read: No such file"),
    "a\nfolder": ("", "cannot be read: not a regular file"),
    "words.jsonl": ('{"sha256": null}\nhello\n', "words.jsonl, line 2: not JSON"),
    "bytes.jsonl": ("\udcff\n", "line 1: not JSON"),
    "list.jsonl": ("[1]\n", "line 1: not a JSON object"),
    "short.jsonl": ('{"sha256": "ab"}\n', "line 1: sha256 is 64 digits"),
    "number.jsonl": ('{"sha256": 7}\n', "line 1: sha256 is 64 digits"),
    "nothing.jsonl": ('{"kind": "passage", "text": "x"}\n', "names no document that is among these texts"),
    "other.jsonl": (json.dumps({"sha256": "0" * 64}), "its document is not among these texts"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_list_that_names_nothing_here_is_refused(name: str, write: Callable[..., Path], tmp_path: Path) -> None:
    content, message = BAD[name]
    path = tmp_path / name
    if "folder" in name:
        path.mkdir()
    elif content is not None:
        path.write_bytes(content.encode(errors="surrogateescape"))
    good = listed(tmp_path / "good.jsonl", FILES["3.txt"])
    with pytest.raises(DataError, match=message):
        prepare(
            [write(FILES)], settings=DataSettings(), tokenizer=KINDS.validate("bytes"), seed=1,
            cache=tmp_path / "cache", without=[good, path],
        )  # fmt: skip


def test_a_list_of_all_documents_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    every = listed(tmp_path / "found.jsonl", *FILES.values())
    with pytest.raises(DataError, match="all 40 documents of these texts are left out"):
        prepare(
            [write(FILES)], settings=DataSettings(), tokenizer=KINDS.validate("bytes"), seed=1,
            cache=tmp_path / "cache", without=[every],
        )  # fmt: skip


def test_a_line_of_a_list_is_read_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptsmith.data.care.left_out.MAX_LINE_BYTES", 100)
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"text": "x" * 200}), encoding="utf-8")
    with pytest.raises(DataError, match=r"long\.jsonl, line 1: not JSON"):
        LeftOutDocuments.read([path])


def test_each_record_has_a_name_also_where_no_field_looks_like_text() -> None:
    fields = [{"turns": [{"a": number}], "when": "2026-11-28"} for number in (1, 2, 1)]
    records = [Record(each, f"line {number}", 0, 0) for number, each in enumerate(fields, 1)]
    names = [name for _, name in named(Path("pairs.jsonl"), records, None)]
    assert names[0] == names[2] != names[1]
    turned = [Record(dict(reversed(each.items())), "line 1", 0, 0) for each in fields]
    assert [name for _, name in named(Path("pairs.jsonl"), turned, None)] == names, "the order of fields is no matter"
    lists = LeftOutDocuments({"found.jsonl": frozenset(names[:1])})
    assert [record.place for record in lists.others(Path("pairs.jsonl"), records, None)] == ["line 2"]


CELLS = [("question", "answer"), *((f"How many boats are in bay {n}?", f"There are {n} of them.") for n in range(12))]
MAIL = "anna.berg@example.org"
NAMED_ROW = 5


def write_table(path: Path, cells: list[tuple[str, str]]) -> None:
    """A table in the format of a file's extension."""
    if path.suffix == ".csv":
        path.write_text("".join(f'"{one}","{other}"\n' for one, other in cells), encoding="utf-8")
    elif path.suffix == ".jsonl":
        rows = [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        columns = zip(cells[0], zip(*cells[1:], strict=True), strict=True)
        parquet.write_table(pyarrow.table({name: list(values) for name, values in columns}), path)
    elif path.suffix == ".xlsx":
        written = (f"<c t='inlineStr'><is><t>{cell}</t></is></c>" for row in cells for cell in row)
        rows = "".join(f"<row>{one}{other}</row>" for one, other in zip(written, written, strict=True))
        main = '<workbook><sheet name="one" id="s1"/></workbook>'
        office_package("xl/workbook.xml", main, {"s1": f"<worksheet>{rows}</worksheet>"})(path)
    else:
        cell = "<table-cell><p>{}</p></table-cell>"
        rows = "".join(f"<table-row>{cell.format(one)}{cell.format(other)}</table-row>" for one, other in cells)
        write_package({"content.xml": f"<document><table>{rows}</table></document>"})(path)


@pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet", "xlsx", "ods"])
def test_of_a_table_the_row_with_a_finding_is_left_out_and_no_other(extension: str, tmp_path: Path) -> None:
    cells, path, out = list(CELLS), tmp_path / f"table.{extension}", tmp_path / "found.jsonl"
    cells[NAMED_ROW] = ("Who answers for the boats?", f"Write to {MAIL}, please.")
    write_table(path, cells)
    (found,) = gptsmith.audit(path, out=out)["findings"]
    is_sheet = extension in ("xlsx", "ods")
    assert found["row_sha256"] == (name_of("\t".join(cells[NAMED_ROW])) if is_sheet else None)

    cleaning = Cleaning.of([], [out], [])
    corpus = read_corpus([path], DataSettings(), tmp_path / "cache", cleaning=cleaning)
    cleaning.require_found()
    left = "\n".join(corpus.text(document) for document in range(len(corpus)))
    others = [row for number, row in enumerate(cells) if number not in (0, NAMED_ROW)]
    assert MAIL not in left
    assert "answers for" not in left
    assert all(question in left and answer in left for question, answer in others)
    if is_sheet:
        assert left == "\n".join("\t".join(row) for row in [CELLS[0], *others])
    if extension != "ods":  # from which no examples are made
        request = FinetuneRequest(base="base", sources=[str(path)], without=[str(out)])
        sources = ExampleSources.of({}, request)
        splits = sources.splits(sources.shape())
        assert splits.num_left_out == 1
        assert len(splits.train) + len(splits.validation) + len(splits.test) == len(others)


@given(st.lists(st.text("ab\n", max_size=6), min_size=1, max_size=6), st.sets(st.sampled_from(["a", "b", "ab", ""])))
def test_rows_are_whole_lines_wherever_chunks_end(chunks: list[str], listed_rows: set[str]) -> None:
    rows = KeptRows(LeftOutDocuments({"list": frozenset(map(name_of, listed_rows))}))
    kept = "".join(rows.add(chunk, last=number == len(chunks) - 1) for number, chunk in enumerate(chunks))
    lines = "".join(chunks).split("\n")
    assert kept == "\n".join(line for line in lines if line not in listed_rows)
    assert set(rows.left_out) == {name_of(line) for line in lines if line in listed_rows}


def test_a_finding_across_rows_names_the_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.xlsx"
    write_table(path, CELLS)
    corpus = read_corpus([path], DataSettings(), tmp_path / "cache")
    text = corpus.text(0)

    def row_of(passage: str) -> str | None:
        (found,) = findings_of(corpus, [PassageSettings(texts=(passage,))], meter)
        return found.row

    assert row_of("bay 3?") == "\t".join(CELLS[4])
    assert row_of("question\tanswer") == "question\tanswer"
    assert row_of(text[-11:]) == "\t".join(CELLS[-1])
    assert row_of("3 of them.\nHow") is None
    monkeypatch.setattr("gptsmith.data.care.placed_findings.AROUND_BYTES", 10)
    assert row_of("bay 3?") is None  # of a row so long, no end is seen
