"""The documents of a collection: lists of them, and one with the text of its source beside it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gptsmith.base.errors import DataError, UserError
from gptsmith.base.json_reader import parse_json
from gptsmith.base.json_text import json_text
from gptsmith.data.care.findings import all_finders
from gptsmith.data.care.left_out import named
from gptsmith.data.care.redaction import RedactedDocument, Redaction
from gptsmith.data.corpus import Corpus
from gptsmith.data.discover import Candidate
from gptsmith.data.examples import NamedRecord, example_of, shape_of
from gptsmith.data.fields import plain_fields
from gptsmith.data.labels import FieldNames
from gptsmith.data.readers import ReadSettings
from gptsmith.data.reading import read_records
from gptsmith.data.shapes import TEXT
from gptsmith.data.skipped_files import PLACES
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.data.collections import Collection
from gptsmith.serve.studio.data.listing import shown_path
from gptsmith.serve.studio.data.reading import Reading
from gptsmith.serve.studio.data.recipes import Edit, Recipe

BEGINNING_BYTES = 400
WINDOW = 20_000
"""Characters, or bytes, of a document that are shown at a time."""
LONG_BYTES = 8_000_000
"""A longer document is not read whole to show a part of it."""
MAX_EDITED_CHARACTERS = 400_000
"""Of a document that can be edited in a page."""
FILES_NAMED = 20


def corpus_of(reading: Reading) -> Corpus:
    """
    Raises:
        UserError: it is not there.
    """
    if reading.corpus is None:
        raise UserError(reading.problem or "these files are not read yet")
    return reading.corpus


def summary(collection: Collection, reading: Reading, recipe: Recipe) -> dict[str, Any]:
    """What was read: counts, by reader, skipped files by reason, and what is left after the recipe."""
    corpus = corpus_of(reading)
    figures = corpus.summary
    starts, stops = corpus.bounds()
    files = corpus.table["file"]
    num_documents = np.bincount(files, minlength=len(corpus.files))
    num_bytes = np.bincount(files, stops - starts, minlength=len(corpus.files))
    readers: dict[str, Counter[str]] = defaultdict(Counter)
    kinds = {str(candidate.file.path): candidate.reader.kind for candidate in reading.found.candidates}
    for number, file in enumerate(corpus.files):
        if file.skipped is None:
            counts = {"num_documents": int(num_documents[number]), "num_bytes": int(num_bytes[number]), "num_files": 1}
            readers[kinds[file.path]].update(counts)
    left_documents, left_bytes = left(reading, recipe)
    return {
        "num_files": figures["num_files"],
        "num_documents": figures["num_documents"],
        "num_bytes": figures["num_bytes"],
        "num_duplicates": figures["num_duplicates"],
        "num_left_documents": left_documents,
        "num_left_bytes": left_bytes,
        "readers": [{"reader": kind, **counts} for kind, counts in sorted(readers.items())],
        "skipped": _grouped(collection, figures["skipped"].items()),
        "remarks": _grouped(
            collection, ((path, remark) for path, remarks in figures["remarks"].items() for remark in remarks)
        ),
        "splits": reading.splits,
    }


def left(reading: Reading, recipe: Recipe) -> tuple[int, int]:
    """The documents that are read by a recipe, and their bytes before anything is replaced by placeholders."""
    corpus = corpus_of(reading)
    starts, stops = corpus.bounds()
    changed = {name: reading.number_of[name] for name in recipe.changed if name in reading.number_of}
    edits = {recipe.edits[name].name: recipe.edits[name] for name in changed if name in recipe.edits}
    others = {name for name in edits if name in reading.number_of and name not in changed} | recipe.without
    added = [edit.text.encode() for name, edit in edits.items() if name not in others]
    num_bytes = corpus.num_bytes - sum(int(stops[number] - starts[number]) for number in changed.values())
    return len(corpus) - len(changed) + len(added), num_bytes + sum(map(len, added))


def rows(collection: Collection, reading: Reading, recipe: Recipe, numbers: Iterable[int]) -> list[dict[str, Any]]:
    """Documents for a list: their number, name (SHA-256), file, size, how they begin, and what is changed of them."""
    corpus = corpus_of(reading)
    starts, stops = corpus.bounds()
    table, found = corpus.table, list[dict[str, Any]]()
    with corpus.open() as file:
        for number in numbers:
            name = table[number]["sha256"].tobytes().hex()
            edit = recipe.edits.get(name)
            start, stop = int(starts[number]), int(stops[number])
            file.seek(start)
            beginning = file.read(min(BEGINNING_BYTES, stop - start)).decode("utf-8", "ignore")
            found.append(
                {
                    "document": name,
                    "file": shown_path(collection, corpus.files[int(table[number]["file"])].path),
                    "num_bytes": stop - start if edit is None else len(edit.text.encode()),
                    "beginning": " ".join((beginning if edit is None else edit.text[:BEGINNING_BYTES]).split())[:120],
                    "is_excluded": not recipe.reads(name),
                    "is_edited": edit is not None,
                }
            )
    return found


def chosen_numbers(reading: Reading, recipe: Recipe, which: str) -> np.ndarray:
    """The documents to list, in order: all, or those that are `changed`."""
    if which != "changed":
        return reading.order
    changed = {reading.number_of[name] for name in recipe.changed if name in reading.number_of}
    return reading.order[np.isin(reading.order, list(changed))]


def number_of(reading: Reading, document: str) -> int:
    """
    Raises:
        ApiError: no document has that name.
    """
    corpus_of(reading)
    number = reading.number_of.get(document)
    if number is None:
        raise ApiError(404, "this document is not there any more: the files have changed", code="not_found")
    return number


def read_text(reading: Reading, recipe: Recipe, document: str) -> str:
    """A document as a model will read it: edited, and with placeholders."""
    number, edit = number_of(reading, document), recipe.edits.get(document)
    text = corpus_of(reading).text(number) if edit is None else edit.text
    return _redacted(text, recipe)


def _redacted(text: str, recipe: Recipe) -> str:
    return RedactedDocument(Redaction(all_finders())).add(text, last=True) if recipe.redacts else text


def shown(collection: Collection, reading: Reading, recipe: Recipe, document: str, start: int) -> dict[str, Any]:
    """A window of a document as a model will read it, beside the source that it was read from."""
    corpus, number = corpus_of(reading), number_of(reading, document)
    path, begin, end = corpus.source(number)
    text, stop, size = _window(reading, recipe, document, start)
    candidate = reading.candidate_of(document)
    return {
        "document": document,
        "file": shown_path(collection, path),
        "reader": candidate.reader.kind,
        "size": size,
        "start": start,
        "stop": stop,
        "window": WINDOW,
        "text": text,
        "source": _source(candidate, begin, end, start),
        "source_bytes": path.stat().st_size,
        "is_excluded": not recipe.reads(document),
        "is_edited": document in recipe.edits,
        "can_be_edited": size <= MAX_EDITED_CHARACTERS,
    }


def _window(reading: Reading, recipe: Recipe, document: str, start: int) -> tuple[str, int, int]:
    """A part of a document as a model will read it, where it ends, and how long the document is: in characters, or, of
    a document that is too long to be read whole, in bytes."""
    corpus, number = corpus_of(reading), number_of(reading, document)
    starts, stops = corpus.bounds()
    begin, end = int(starts[number]), int(stops[number])
    if end - begin <= LONG_BYTES or document in recipe.edits:
        text = read_text(reading, recipe, document)
        return text[start : start + WINDOW], min(start + WINDOW, len(text)), len(text)
    data = corpus.read(begin + start, min(begin + start + WINDOW, end))
    while (last := data[-4:].decode("utf-8", "ignore").encode()) and not data.endswith(last):
        data = data[:-1]  # the end of a character is in the next window
    return _redacted(data.decode("utf-8", "ignore"), recipe), start + len(data), end - begin


def _source(candidate: Candidate, begin: int, end: int, start: int) -> str | None:
    """The part of a file that a document was read from, as text; None if it is packed or no text."""
    if candidate.reader.is_packed:
        return None
    try:
        with candidate.file.open() as stream:
            if begin + start:
                stream.seek(begin + start) if stream.seekable() else stream.read(begin + start)
            data = stream.read(max(min(end - begin - start, WINDOW), 0))
    except (UserError, OSError):
        return None
    return None if b"\0" in data else data.decode("utf-8", "replace")


def editable(reading: Reading, recipe: Recipe, document: str) -> Edit:
    """What a person edits of a document: its text, or its record.

    Raises:
        DataError: it is too long, or its record is not found.
    """
    number = number_of(reading, document)
    if document in recipe.edits:
        return recipe.edits[document]
    candidate, text = reading.candidate_of(document), corpus_of(reading).text(number)
    if len(text) > MAX_EDITED_CHARACTERS:
        raise DataError(f"it has {len(text):,} characters, which are too many for a page: edit the file itself")
    if not candidate.reader.has_records(candidate.file, ReadSettings()):
        return Edit(text)
    records = read_records(candidate.reader, candidate.file, ReadSettings())
    for record, name in named(candidate.file.path, records, None):
        if name == document:
            return Edit(text, record.fields)
    raise DataError("its record is not found in the file")


def record_as_text(edit: Edit) -> str | None:
    """The record that stands in the place of a document, for a person; None where the text is all that there is to
    edit."""
    if edit.record is None or _text_field(edit) is not None:
        return None
    return json_text(dict(edit.record), indent=2, ensure_ascii=False, default=str)


def _text_field(edit: Edit) -> str | None:
    """The field of a record that is its text, if it is no example of some shape."""
    record = edit.record or {}
    names = [name for name, value in record.items() if value == edit.text]
    return names[0] if len(names) == 1 and shape_of(plain_fields(record)) in (None, TEXT) else None


def edited(before: Edit, given: str) -> Edit:
    """What a person made of a document.

    Raises:
        DataError: it is no record of the same shape any more.
    """
    if before.record is None:
        return Edit(given)
    if (field := _text_field(before)) is not None:
        return Edit("", {**before.record, field: given})
    try:
        record = parse_json(given)
    except ValueError as error:
        raise DataError(f"this is not JSON: {error}") from None
    if not isinstance(record, dict) or record.keys() != before.record.keys():
        raise DataError(f"keep the names of its fields: {', '.join(before.record)}")
    shape = shape_of(plain_fields(record))
    if shape != shape_of(plain_fields(before.record)):
        raise DataError("with it, the record would be one of another kind: change less")
    if shape not in (None, TEXT):
        example_of(NamedRecord(Path(), "", plain_fields(record), record, FieldNames(), 0), str(shape))
    return Edit("", record)


def _grouped(collection: Collection, reasons: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Files by the reason why they were skipped, the most common first."""
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path, reason in reasons:
        groups[PLACES.sub("#", reason)].append((path, reason))
    return [
        {
            "reason": group[0][1],
            "num_files": len(group),
            "files": [shown_path(collection, path) for path, _ in group[:FILES_NAMED]],
        }
        for group in sorted(groups.values(), key=len, reverse=True)
    ]
