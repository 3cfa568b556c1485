"""Records of files to examples to learn from. The fields of a record tell the shape of its example."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

from gptsmith.base.console import meter
from gptsmith.base.errors import DataError, UserError
from gptsmith.base.json_text import json_text
from gptsmith.base.notices import Notice
from gptsmith.data.care.cleaning import Cleaning
from gptsmith.data.chats import require_messages_of, with_roles
from gptsmith.data.discover import discover, readers_by_extension
from gptsmith.data.example_store import StoredExamples
from gptsmith.data.fields import plain_fields
from gptsmith.data.labels import FieldNames, field_names, text_name
from gptsmith.data.readers import ReadSettings, Record
from gptsmith.data.reading import read_records
from gptsmith.data.records import TEXT_FIELDS
from gptsmith.data.shapes import KINDS, TEXT, Example, ExampleShape
from gptsmith.data.skipped import Skipped, Skipping

MAX_SHOWN_CHARACTERS = 50
NUM_SAMPLES = 200
"""The first records of a file decide which of its fields are the text and the label."""
TEXT_NAMES = frozenset(name for names in TEXT_FIELDS if len(names) == 1 for name in names)


@dataclass(frozen=True)
class ExampleReading:
    """How the records of files become examples."""

    settings: ReadSettings = field(default_factory=ReadSettings)
    label_field: str | None = None
    """The field of the label; found by its name if not given."""
    me: str | None = None
    """The person in a chat of people whom the model is to answer as."""
    ignored_fields: Sequence[str] = ()
    """Fields of records and of their turns that are left out."""
    has_labels: bool = True
    """Whether the records are to have labels; those of texts to be labelled need none."""
    cleaning: Cleaning = field(default_factory=Cleaning)
    """Records that are not read, by their texts as documents, and what is replaced in the others."""
    usual_text: str | None = None
    """A name of the text beside the usual ones: that in the files that a classifier was trained on."""

    def names(self, path: Path, samples: Sequence[Mapping[str, Any]]) -> FieldNames:
        """The fields of a file that have other names than usual, by its first records.

        Raises:
            DataError: a requested field is not there, or it is not clear which fields are text and label.
        """
        requested = self.settings.text_field, self.label_field
        if not samples:
            return FieldNames()
        if not self.has_labels:
            return text_name(path, samples, self.settings.text_field, self.usual_text)
        if requested == (None, None) and shape_of(plain_fields(samples[0])) not in (None, TEXT):
            return FieldNames()
        return field_names(path, samples, *requested)


@dataclass(frozen=True)
class NamedRecord:
    """A record with the usual names of its fields."""

    path: Path
    place: str
    """`answers.jsonl, line 7`."""
    fields: Mapping[str, Any]
    original: Mapping[str, Any]
    """The fields as the file names them."""
    names: FieldNames
    end: int
    """The byte of the file, unpacked, behind it."""
    problem: str | None = None
    """Why it cannot be read; None if it can."""


def example_shapes() -> list[ExampleShape]:
    """All shapes of examples, in the order in which a record is compared with them."""
    return _shapes(tuple(KINDS.names()))


@functools.cache
def _shapes(names: tuple[str, ...]) -> list[ExampleShape]:
    return sorted(map(KINDS.validate, names), key=lambda shape: -shape.priority)


def shape_of(fields: Mapping[str, Any]) -> str | None:
    """The name of a record's shape, `text` if it only has a text; None if it is neither. Fields have their usual
    names."""
    for shape in example_shapes():
        if shape.matches(fields):
            return shape.kind
    return TEXT if any(name in TEXT_NAMES for name in fields) else None


def read_shape(sources: Iterable[str | Path], reading: ExampleReading | None = None) -> str:
    """The shape of the first record in some files; `text` if they hold no records.

    Raises:
        DataError: the record is of no known shape, or it is not clear which fields are text and label; the message
            shows them.
    """
    reading = reading or ExampleReading()
    for named in named_records(sources, reading):
        if named.problem is not None:
            continue
        shape = shape_of(named.fields)
        if shape is None and reading.settings.text_field is not None:
            return TEXT
        if shape is None:
            raise DataError(f"{named.place}: {unknown_shape(named.fields)}")
        return shape
    return TEXT


@dataclass(frozen=True)
class ReadExamples:
    """The examples of some files."""

    examples: Sequence[Example]
    """On disk: memory does not grow with them."""
    fields: dict[str, dict[str, str]]
    """The fields of each file that have other names than usual, by their usual names: `{"label": "Stars"}`."""
    skipped: Skipped


def read_examples(
    sources: Iterable[str | Path], shape: str, reading: ExampleReading | None = None, *, skip_bad: bool = False
) -> ReadExamples:
    """All examples of one shape, in order.

    Args:
        skip_bad: whether records of which no example can be made are skipped, instead of stopping at the first.

    Raises:
        DataError: a file cannot be read, a record is not of the shape (the message shows it and what is known), or no
            example is left.
    """
    reading = reading or ExampleReading()
    require_records(sources, reading.settings)
    examples = StoredExamples()
    fields: dict[str, dict[str, str]] = {}
    skipping = Skipping(skip_bad)
    before, num_bytes = _bytes_before(sources)
    with meter("reading examples", num_bytes, count=False) as bar:
        for number, named in enumerate(named_records(sources, reading), 1):
            with skipping.at(named.place):
                examples.append(example_of(named, shape))
                if named.names.own and str(named.path) not in fields:
                    fields[str(named.path)] = dict(named.names.own)
            # Of a packed file, or one without lines, no more is known than where its record ends in the text.
            bar.update(min(before.get(named.path, 0) + named.end, num_bytes), f"{number:,} records")
    if not examples and reading.cleaning.left_out.found:
        raise DataError(f"{', '.join(reading.cleaning.left_out.lists)}: all examples are left out: name more files")
    if not examples:
        raise no_examples(sources, skipping.skipped)
    return ReadExamples(examples, fields, skipping.skipped)


def _bytes_before(sources: Iterable[str | Path]) -> tuple[dict[Path, int], int]:
    """The bytes of the files before each file, and of all of them."""
    before, num_bytes = {}, 0
    for candidate in discover(sources).candidates:
        before[candidate.file.path] = num_bytes
        num_bytes += candidate.file.path.stat().st_size
    return before, num_bytes


def no_examples(sources: Iterable[str | Path], skipped: Skipped) -> DataError:
    """The error for a person whose files hold no records, or none of which an example can be made."""
    said = ", ".join(map(str, sources))
    if skipped:
        ((reason, places),) = list(skipped.places.items())[:1]
        return DataError(f"{said}: none of {len(skipped):,} records can be used; the first, {places[0]}: {reason}")
    allowed = ", ".join(name for name, reader in readers_by_extension().items() if reader.holds_records)
    return DataError(f"{said}: no records in it (allowed: {allowed})")


def example_of(named: NamedRecord, shape: str) -> Example:
    """The example that a record holds.

    Raises:
        DataError: none can be made of it; the message says why, without its place.
    """
    if named.problem is not None:
        raise DataError(named.problem)
    try:
        return KINDS.validate(shape).example(named.fields, named.place)
    except UserError as error:
        raise DataError(str(error)) from None
    except (KeyError, TypeError, AttributeError, StopIteration):
        raise DataError(unknown_shape(named.fields, shape)) from None


def unknown_shape(fields: Mapping[str, Any], wanted: str | None = None) -> str:
    """The error for a person whose record is of no known shape, or not of the wanted one."""
    shown = json_text(dict(fields), ensure_ascii=False, default=str)
    shown = shown if len(shown) <= MAX_SHOWN_CHARACTERS else shown[:MAX_SHOWN_CHARACTERS] + "…"
    shapes = [shape for shape in example_shapes() if wanted in (None, shape.kind)]
    known = "; or ".join(f"{shape.kind} ({shape.record_fields})" for shape in shapes)
    more = f"; or plain text ({TEXT})" if wanted is None else ""
    return f"expected fields of {known}{more}: {shown}"


def named_records(sources: Iterable[str | Path], reading: ExampleReading) -> Iterator[NamedRecord]:
    """The records of files, with the usual names of their fields, which the first records of each file decide.

    Raises:
        DataError: a file cannot be read, or it is not clear which of its fields are text and label, or who in a chat
            of people is the assistant.
    """
    names_of_people: Counter[str] = Counter()
    num_records = 0
    for path, of_file in groupby(records(sources, reading.settings), key=lambda item: item[0]):
        of_this = (record for _, record in of_file)
        others = reading.cleaning.left_out.others(path, of_this, reading.settings.text_field)
        found = with_roles(path, others, reading.me, names_of_people)
        first = list(islice(found, NUM_SAMPLES))
        names = reading.names(path, [record.fields for record in first if record.problem is None])
        for record in chain(first, found):
            place = f"{path}, {record.place}"
            num_records += 1
            fields = without_fields(names.usual(record.fields), reading.ignored_fields)
            fields = reading.cleaning.redaction.record(fields) if reading.cleaning.redaction else fields
            yield NamedRecord(path, place, fields, record.fields, names, record.end, record.problem)
    if reading.me is not None:
        require_messages_of(reading.me, names_of_people)
        if names_of_people and not num_records:
            raise DataError(f"no message of {reading.me} answers anybody in {', '.join(map(str, sources))}")


def require_records(sources: Iterable[str | Path], settings: ReadSettings) -> None:
    """Checks that no file that a person named is left out because no example can be made of it.

    Raises:
        DataError: one holds no records.
    """
    for candidate in discover(sources).candidates:
        if candidate.named and not candidate.reader.has_records(candidate.file, settings):
            raise DataError(
                Notice(
                    f"{candidate.file.path} holds no records, so that no examples can be made of it: leave it out, or "
                    "train on texts alone with --objective next_token",
                    "no_records",
                    file=str(candidate.file.path),
                )
            )


def without_fields(fields: Mapping[str, Any], ignored: Sequence[str]) -> Mapping[str, Any]:
    """A record without some fields, and without those of its turns."""
    if not ignored:
        return fields

    def kept(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: inner for name, inner in value.items() if name not in ignored}
        return value

    return {
        name: list(map(kept, value)) if isinstance(value, list) else value
        for name, value in fields.items()
        if name not in ignored
    }


def records(sources: Iterable[str | Path], settings: ReadSettings | None = None) -> Iterator[tuple[Path, Record]]:
    """The records of files, with the file of each, also those that cannot be read. Files of formats without records
    have none."""
    for candidate in discover(sources).candidates:
        how = settings or ReadSettings()
        if candidate.reader.has_records(candidate.file, how):
            for record in read_records(candidate.reader, candidate.file, how):
                yield candidate.file.path, record
