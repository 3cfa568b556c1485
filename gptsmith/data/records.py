"""Records to documents: which fields of a record hold its text, and that text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from gptsmith.base.errors import DataError
from gptsmith.base.json_reader import MAX_DEPTH
from gptsmith.base.notices import Notice
from gptsmith.data.fields import NOTHING, PROSE, WORDS, field_kind, is_named_like_text, plain_name
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
    ("chat",),
    ("instruction", "input", "output"),
    ("instruction", "context", "response"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("question", "answer"),
)

# Where the parts of a conversation keep their words.
MESSAGE_FIELDS = ("content", "value", "text")

# Kinds of values that are no text under any name.
NEVER_TEXT = ("links", "identifiers", "paths", "dates")

# Kinds of values that may hold the text inside.
NESTED = ("lists", "records")

BETWEEN_TEXTS = "\n\n"
"""Between the texts of a record, in the document that they make."""

NUM_FIELDS_SHOWN = 20
MAX_SHOWN_CHARACTERS = 60


def documents(path: Path, records: Iterable[Record], text_field: str | None) -> Iterator[Chunk]:
    """The records' texts in order, one document each; a record whose text is blank is skipped.

    Raises:
        DataError: no field holds text, or a record lacks the fields that do.
    """
    records = iter(records)
    first = list(islice(records, NUM_SAMPLES))
    if not first:
        return
    for record in first:
        require_readable(path, record)
    chosen = chosen_fields(path, [record.fields for record in first], text_field)
    for record in chain(first, records):
        yield from document(path, record, chosen)


def require_readable(path: Path, record: Record) -> None:
    """Checks that a record could be read.

    Raises:
        DataError: it could not; the message has its place.
    """
    if record.problem is not None:
        raise DataError(f"{path}, {record.place}: {record.problem}")


def document(path: Path, record: Record, chosen: Sequence[str]) -> Iterator[Chunk]:
    """The text of one record as one chunk; none if it is blank.

    Raises:
        DataError: the record has none of the chosen fields, or there is something other than text in them.
    """
    require_readable(path, record)
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
    text = BETWEEN_TEXTS.join(part for part in parts if part)
    if text.strip():
        yield Chunk(text, record.start, record.end, fields=tuple(present))


def chosen_fields(path: Path, samples: Sequence[Mapping[str, Any]], text_field: str | None) -> tuple[str, ...]:
    """The fields whose texts, joined by blank lines, make a record's document.

    The requested one; else those with a usual name; else the one with the most text in the samples. Ids, links, paths,
    dates and numbers are never it.

    Raises:
        DataError: the requested field is not there, or no field looks like text; the message lists the fields.
    """
    names = list(dict.fromkeys(chain.from_iterable(samples)))
    if text_field is not None:
        found = field_named(text_field, names)
        if found is None:
            raise DataError(
                f"{path} has no field {text_field} (fields: {shown(names)}); name one with --set data.text_field=NAME"
            )
        return (found,)

    lengths = {name: sum(text_length(sample.get(name)) for sample in samples) for name in names}
    kinds = {name: field_kind(name, samples) for name in names}
    textual = {plain_name(name): name for name in names if lengths[name] and kinds[name] not in NEVER_TEXT}
    for usual in TEXT_FIELDS:
        # What lies between the first and the last is optional, such as the input of an instruction.
        if usual[0] in textual and usual[-1] in textual:
            return tuple(textual[name] for name in usual if name in textual)

    candidates = text_candidates(samples, kinds)
    if not candidates:
        listed = shown(f"{name} ({kinds[name]})" if kinds[name] != NOTHING else name for name in names)
        raise DataError(
            Notice(
                f"{path} has no field that looks like text (fields: {listed or 'none'}); "
                "name the one to train on with --set data.text_field=NAME",
                "text_which",
                file=str(path),
                fields=listed or "none",
            )
        )
    return (max(candidates, key=lengths.__getitem__),)


def text_candidates(samples: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> list[str]:
    """The fields that can be the text, by the kinds of their values: those of prose, without such as are called after
    ids, links or dates while another is left; or, where there is no prose, words that are not a few repeated ones."""
    prose = [name for name, kind in kinds.items() if kind == PROSE]
    if prose:
        return [name for name in prose if is_named_like_text(name)] or prose
    if any(kind in NESTED for kind in kinds.values()):
        return []
    words = [name for name, kind in kinds.items() if kind == WORDS and is_named_like_text(name)]
    return [name for name in words if 2 * num_distinct(name, samples) > len(samples)]


def num_distinct(name: str, samples: Sequence[Mapping[str, Any]]) -> int:
    """The number of different values of a field."""
    return len({str(sample.get(name)) for sample in samples})


def field_named(wanted: str, names: Sequence[str]) -> str | None:
    """The field of that name, or else the one whose plain name is the same; None if there is none."""
    if wanted in names:
        return wanted
    return next((name for name in names if plain_name(name) == plain_name(wanted)), None)


def plain_text(value: Any, depth: int = 0) -> str:
    """The text of a field: a string as it is, the parts of a list or conversation joined by blank lines.

    Raises:
        TypeError: it is not text; the message says what it is.
    """
    if value is None:
        return ""
    if depth > MAX_DEPTH:
        raise TypeError("values nested too deeply")
    if isinstance(value, str):
        return without_lone_surrogates(value)
    if isinstance(value, Mapping):
        if value.keys() == {"name", "content"}:
            return f"{value['name']}: {plain_text(value['content'], depth + 1)}"
        # A part without words, such as an image or the call of a tool, adds nothing.
        return next((plain_text(value[name], depth + 1) for name in MESSAGE_FIELDS if name in value), "")
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return BETWEEN_TEXTS.join(part for each in value if (part := plain_text(each, depth + 1)))
    raise TypeError({bool: "true or false", bytes: "bytes"}.get(type(value), f"the value {brief(value)}"))


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


def brief(value: Any) -> str:
    """A value for a person: a list or a record by its size, all else as Python writes it, cut short."""
    if isinstance(value, Mapping):
        return f"a record of {len(value)} fields"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    written = repr(value)
    return written if len(written) <= MAX_SHOWN_CHARACTERS else written[:MAX_SHOWN_CHARACTERS] + "…"


def shown(names: Iterable[str]) -> str:
    """`a, b, c`, cut short where there are many."""
    names = list(names)
    cut = [name if len(name) <= MAX_SHOWN_CHARACTERS else name[:MAX_SHOWN_CHARACTERS] + "…" for name in names]
    return ", ".join(cut[:NUM_FIELDS_SHOWN]) + (", ..." if len(names) > NUM_FIELDS_SHOWN else "")
