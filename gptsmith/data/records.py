"""Records to documents: which fields of a record hold its text, and that text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from gptsmith.base.errors import DataError
from gptsmith.data.readers import Chunk, Record

# The first records of a file decide for all of them.
NUM_SAMPLES = 50

# In order of preference, as public datasets name them; upper and lower case are the same.
TEXT_FIELDS: tuple[tuple[str, ...], ...] = (
    ("text",),
    ("content",),
    ("body",),
    ("document",),
    ("article",),
    ("messages",),
    ("conversations",),
    ("conversation",),
    ("instruction", "input", "output"),
    ("instruction", "context", "response"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("question", "answer"),
)

# Where the parts of a conversation keep their words.
MESSAGE_FIELDS = ("content", "value", "text")

NUM_FIELDS_SHOWN = 20


def documents(path: Path, records: Iterable[Record], text_field: str | None) -> Iterator[Chunk]:
    """The records' texts in order, one document each; a record whose text is blank is skipped.

    Raises:
        DataError: no field holds text, or a record lacks the fields that do.
    """
    records = iter(records)
    first = list(islice(records, NUM_SAMPLES))
    if not first:
        return
    chosen = chosen_fields(path, [record.fields for record in first], text_field)
    for record in chain(first, records):
        yield from document(path, record, chosen)


def document(path: Path, record: Record, chosen: Sequence[str]) -> Iterator[Chunk]:
    """The text of one record as one chunk; none if it is blank.

    Raises:
        DataError: the record has none of the chosen fields, or there is something other than text in them.
    """
    present = [name for name in chosen if name in record.fields]
    if not present:
        raise DataError(
            f"{path}, {record.place}: no field {' or '.join(chosen)} (fields here: {shown(record.fields)}); "
            "give every record one, or name another with --set data.text_field=NAME"
        )
    parts = []
    for name in present:
        try:
            parts.append(plain_text(record.fields[name]))
        except TypeError as error:
            raise DataError(
                f"{path}, {record.place}: the field {name} holds {error}, not text; "
                "name another with --set data.text_field=NAME"
            ) from None
    text = "\n\n".join(part for part in parts if part)
    if text.strip():
        yield Chunk(text, record.start, record.end)


def chosen_fields(path: Path, samples: Sequence[Mapping[str, Any]], text_field: str | None) -> tuple[str, ...]:
    """The fields whose texts, joined by blank lines, make a record's document.

    The requested one; else those with a usual name; else the one with the most text in the samples.

    Raises:
        DataError: the requested field is not there, or no field holds text.
    """
    names = list(dict.fromkeys(chain.from_iterable(samples)))
    if text_field is not None:
        if text_field not in names:
            raise DataError(
                f"{path} has no field {text_field} (fields: {shown(names)}); name one with --set data.text_field=NAME"
            )
        return (text_field,)

    lengths = {name: sum(text_length(sample.get(name)) for sample in samples) for name in names}
    textual = {name.casefold(): name for name in names if lengths[name]}
    for usual in TEXT_FIELDS:
        # What lies between the first and the last is optional, such as the input of an instruction.
        if usual[0] in textual and usual[-1] in textual:
            return tuple(textual[name] for name in usual if name in textual)

    strings = [name for name in names if any(isinstance(sample.get(name), str) for sample in samples)]
    if not strings:
        raise DataError(f"{path} has no field of text (fields: {shown(names) or 'none'})")
    return (max(strings, key=lengths.__getitem__),)


def plain_text(value: Any) -> str:
    """The text of a field: a string as it is, the parts of a list or conversation joined by blank lines.

    Raises:
        TypeError: it is not text; the message says what it is.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return without_lone_surrogates(value)
    if isinstance(value, Mapping):
        # A part without words, such as an image or the call of a tool, adds nothing.
        return next((plain_text(value[name]) for name in MESSAGE_FIELDS if name in value), "")
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return "\n\n".join(part for part in map(plain_text, value) if part)
    raise TypeError({bool: "true or false", bytes: "bytes"}.get(type(value), f"the value {value!r}"))


def text_length(value: Any) -> int:
    """The number of characters of text in a field's value, 0 where it holds something else."""
    try:
        return len(plain_text(value))
    except TypeError:
        return 0


def without_lone_surrogates(text: str) -> str:
    """`text` that UTF-8 can hold: JSON can spell halves of a surrogate pair, which become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def shown(names: Iterable[str]) -> str:
    """`a, b, c`, cut short where there are many."""
    names = list(names)
    return ", ".join(names[:NUM_FIELDS_SHOWN]) + (", ..." if len(names) > NUM_FIELDS_SHOWN else "")
