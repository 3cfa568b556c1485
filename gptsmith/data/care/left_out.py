"""Documents, and rows of sheets, that a person leaves out: lists of them, by the SHA-256 of their texts, as an audit
writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import Any

from gptsmith.base.bounded import open_regular
from gptsmith.base.errors import DataError, one_line
from gptsmith.base.hints import shell_command
from gptsmith.base.json_reader import parse_json
from gptsmith.base.json_text import json_text
from gptsmith.data.readers import Record
from gptsmith.data.records import NUM_SAMPLES, chosen_fields, document

MAX_LINE_BYTES = 1 << 24
HEXADECIMAL = re.compile(r"[0-9a-f]{64}")
AUDIT = shell_command("audit", "TEXT", "--out", "found.jsonl")
HOW_TO_LIST = f"{AUDIT} writes such a list"


@dataclass(frozen=True)
class LeftOutDocuments:
    """Lists of documents that are not to be learnt from. A row of a sheet is one too.

    Attributes:
        lists: the SHA-256 of the text of each document, by the path of the list that names it.
        found: the SHA-256 of those that were read, and left out.
    """

    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, paths: Iterable[str | Path]) -> LeftOutDocuments:
        """The lists in some files, one JSON object per line; a line without `sha256` names no document.

        Raises:
            DataError: a file cannot be read, or a line of it.
        """
        return cls({str(path): frozenset(_named_in(Path(path))) for path in paths})

    def __contains__(self, sha256: str) -> bool:
        return any(sha256 in named for named in self.lists.values())

    def key(self) -> list[str]:
        """What decides the texts that are left, as JSON values; empty without lists."""
        return sorted(set().union(*self.lists.values()))

    def require_found(self) -> None:
        """Checks that each list named some of the documents that were read.

        Raises:
            DataError: one did not.
        """
        for path, named in self.lists.items():
            if named.isdisjoint(self.found):
                what = f"none of its {len(named):,} documents is" if len(named) > 1 else "its document is not"
                raise DataError(
                    f"{path}: {what if named else 'it names no document that is'} among these texts, so that nothing "
                    f"would be left out: write it anew, from the same texts ({AUDIT})"
                )

    def others(self, path: Path, records: Iterable[Record], text_field: str | None) -> Iterator[Record]:
        """The records of a file without those whose text, as a document, is listed."""
        if not self.lists:
            yield from records
            return
        for record, name in named(path, records, text_field):
            names = {name, *([name_of(record.row)] if record.row is not None else [])}
            if listed := {each for each in names if each in self}:
                self.found.update(listed)
            else:
                yield record


class KeptRows:
    """Documents whose lines are rows, without those that are left out, chunk by chunk.

    Attributes:
        left_out: the SHA-256 of the rows that were left out.
    """

    def __init__(self, documents: LeftOutDocuments) -> None:
        self.left_out = dict[str, None]()
        self._documents, self._held, self._has_begun = documents, "", False

    def add(self, text: str, *, last: bool) -> str:
        """The next of a document without some rows, given its next chunk."""
        if not self._documents.lists:
            return text
        lines = (self._held + text).split("\n")
        self._held = "" if last else lines.pop()
        kept = [line for line in lines if not self._is_left_out(line)]
        between = "\n" if self._has_begun and kept else ""
        self._has_begun = not last and (self._has_begun or bool(kept))
        return between + "\n".join(kept)

    def _is_left_out(self, line: str) -> bool:
        name = name_of(line)
        if is_named := name in self._documents:
            self.left_out[name] = None
        return is_named


def named(path: Path, records: Iterable[Record], text_field: str | None) -> Iterator[tuple[Record, str]]:
    """The records of a file, each with its name: the SHA-256 of its text as a document, as an audit of texts reads it;
    where it has none, as in files in which no field looks like text, that of all its fields as JSON."""
    records = iter(records)
    first = list(islice(records, NUM_SAMPLES))
    try:
        chosen = chosen_fields(path, [record.fields for record in first], text_field)
    except DataError:
        chosen = ()
    for record in chain(first, records):
        text = _text_of(path, record, chosen) or json_text(dict(record.fields), sort_keys=True, default=str)
        yield record, name_of(text)


def name_of(text: str) -> str:
    """The name of a document, or of a row, in a list: the SHA-256 of its text."""
    return sha256(text.encode("utf-8", "replace")).hexdigest()


def _text_of(path: Path, record: Record, chosen: tuple[str, ...]) -> str:
    """The text of a record as a document; empty if it has none."""
    try:
        return "".join(chunk.text for chunk in document(path, record, chosen))
    except DataError:
        return ""


def _named_in(path: Path) -> Iterator[str]:
    """The SHA-256 that each line of a file names: that of a row, if there is one, or of a whole document."""
    for place, value in json_lines(path):
        name = value.get("row_sha256") or value.get("sha256")
        if name is None:
            continue
        if not isinstance(name, str) or not HEXADECIMAL.fullmatch(name):
            raise DataError(f"{place}: sha256 is 64 digits of 0 to 9 and a to f, the SHA-256 of a document's text")
        yield name


def json_lines(path: Path, how_to_list: str = HOW_TO_LIST) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in a file that an audit wrote, one per line, each with its place for a person.

    Args:
        how_to_list: how such a file is made, for a person whose file is none.

    Raises:
        DataError: the file cannot be read, or a line of it.
    """
    try:
        with open_regular(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 1):
                if line.strip():
                    place = f"{path}, line {number:,}"
                    yield place, _object(place, line, how_to_list)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; {how_to_list}") from None


def _object(place: str, line: bytes, how_to_list: str) -> dict[str, Any]:
    try:
        value = parse_json(line.decode("utf-8"))
    except ValueError as error:
        problem = f"{place}: not JSON ({one_line(error, 100)}), and each line is one object; {how_to_list}"
        raise DataError(problem) from None
    if not isinstance(value, dict):
        raise DataError(f"{place}: not a JSON object, and each line is one; {how_to_list}")
    return value
