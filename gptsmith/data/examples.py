"""Records of files to examples to learn from. The fields of a record tell the shape of its example."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gptsmith.base.errors import DataError, UserError
from gptsmith.base.json_text import json_text
from gptsmith.data.discover import discover
from gptsmith.data.readers import ReadSettings, Record
from gptsmith.data.records import TEXT_FIELDS
from gptsmith.data.shapes import KINDS, TEXT, Example, ExampleShape

MAX_SHOWN_CHARACTERS = 200
TEXT_NAMES = frozenset(name for names in TEXT_FIELDS if len(names) == 1 for name in names)


def example_shapes() -> list[ExampleShape]:
    """All shapes of examples, in the order in which a record is compared with them."""
    return _shapes(tuple(KINDS.names()))


@functools.cache
def _shapes(names: tuple[str, ...]) -> list[ExampleShape]:
    return sorted(map(KINDS.validate, names), key=lambda shape: -shape.priority)


def shape_of(fields: Mapping[str, Any]) -> str | None:
    """The name of a record's shape, `text` if it only has a text; None if it is neither."""
    for shape in example_shapes():
        if shape.matches(fields):
            return shape.kind
    return TEXT if any(name.casefold() in TEXT_NAMES for name in fields) else None


def read_shape(sources: Iterable[str | Path]) -> str:
    """The shape of the first record in some files; `text` if they hold no records.

    Raises:
        DataError: the record is of no known shape; the message shows it.
    """
    for path, record in records(sources):
        shape = shape_of(record.fields)
        if shape is None:
            raise DataError(unknown_shape(f"{path}, {record.place}", record.fields))
        return shape
    return TEXT


def read_examples(sources: Iterable[str | Path], shape: str) -> list[Example]:
    """All examples of one shape, in order.

    Raises:
        DataError: a file cannot be read, or a record is not of the shape; the message shows it and what is known.
    """
    example = KINDS.validate(shape).example
    found = []
    for path, record in records(sources):
        place = f"{path}, {record.place}"
        try:
            found.append(example(record.fields, place))
        except UserError as error:
            raise DataError(f"{place}: {error}") from None
        except (KeyError, TypeError, AttributeError, StopIteration):
            raise DataError(unknown_shape(place, record.fields, shape)) from None
    if not found:
        raise DataError(f"{', '.join(map(str, sources))}: no examples in it")
    return found


def unknown_shape(place: str, fields: Mapping[str, Any], wanted: str | None = None) -> str:
    """The error for a person whose record is of no known shape, or not of the wanted one."""
    shown = json_text(dict(fields), ensure_ascii=False, default=str)
    shown = shown if len(shown) <= MAX_SHOWN_CHARACTERS else shown[:MAX_SHOWN_CHARACTERS] + "…"
    shapes = [shape for shape in example_shapes() if wanted in (None, shape.kind)]
    known = "; or ".join(f"{shape.kind} ({shape.record_fields})" for shape in shapes)
    more = f"; or plain text ({TEXT})" if wanted is None else ""
    return f"{place} is {shown}: expected fields of {known}{more}"


def records(sources: Iterable[str | Path]) -> Iterator[tuple[Path, Record]]:
    """The records of files, with the file of each. Files of formats without records have none."""
    for candidate in discover(sources).candidates:
        if candidate.reader.holds_records:
            for record in candidate.reader.records(candidate.file, ReadSettings()):
                yield candidate.file.path, record
