"""Passages of documents in the files that they were read from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Self

from gptsmith.base.errors import UserError
from gptsmith.base.json_text import json_text
from gptsmith.data.files import open_decompressed, seekable
from gptsmith.data.records import BETWEEN_TEXTS

READ_BYTES = 1 << 18
"""Of a block whose lines are counted."""
AROUND_BYTES = 1 << 20
"""How far from its expected place a passage of a long document is looked for."""

BETWEEN_BYTES = 1 << 12
"""Of other fields and of markup, between the parts of a passage that goes on from one text of a record in another."""


@dataclass(frozen=True)
class Found:
    """Where a passage stands in a file.

    Attributes:
        start, stop: its bytes in the file, decompressed if it is packed.
        line: the line that it begins in, from 1.
    """

    start: int
    stop: int
    line: int


class SearchedFile:
    """A file in which passages are looked for.

    Attributes:
        line_counts: the line ends before each of its blocks, counted when a line is first asked for.

    Raises:
        OSError, UserError: it cannot be read.
    """

    def __init__(self, path: Path, line_counts: list[int] | None = None) -> None:
        self._opened = ExitStack()
        self._file = self._opened.enter_context(seekable(open_decompressed(path)))
        self.line_counts = line_counts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def find(self, passage: str, begin: int, end: int, expected: int) -> Found | None:
        """A passage in a document that was read from the bytes `begin` to `end`, as near as it can be to the byte where
        it is expected; as it stands, or as a JSON string spells it. None if it is not there, as in formats whose text
        is packed or marked up."""
        plain = passage.encode("utf-8", "replace")
        if plain and begin <= expected and expected + len(plain) <= end and self._has(plain, expected):
            return Found(expected, expected + len(plain), self._line_of(expected))
        if end - begin > 2 * AROUND_BYTES:
            begin, end = max(begin, expected - AROUND_BYTES), min(end, expected + AROUND_BYTES)
        self._file.seek(begin)
        window = self._file.read(end - begin)
        for spelled in _spellings(passage):
            places = list(_occurrences(window, spelled))
            if places:
                at = begin + min(places, key=lambda place: abs(begin + place - expected))
                return Found(at, at + len(spelled), self._line_of(at))
        return self._find_across(window, passage, begin)

    def _find_across(self, window: bytes, passage: str, begin: int) -> Found | None:
        """A passage that goes on from one text of a record in another: from the first to the last of its parts in the
        file, if all are there and near each other, in whatever order."""
        parts = [part for part in passage.split(BETWEEN_TEXTS) if part]
        for spelled in zip(*map(_every_spelling, parts), strict=True) if len(parts) > 1 else ():
            places = [window.find(part) for part in spelled]
            start, stop = min(places), max(place + len(part) for place, part in zip(places, spelled, strict=True))
            if start >= 0 and stop - start <= sum(map(len, spelled)) + BETWEEN_BYTES:
                return Found(begin + start, begin + stop, self._line_of(begin + start))
        return None

    def _has(self, spelled: bytes, place: int) -> bool:
        """Whether these bytes stand at a place."""
        self._file.seek(place)
        return self._file.read(len(spelled)) == spelled

    def _line_of(self, place: int) -> int:
        """The line of a byte, from 1."""
        if self.line_counts is None:
            self._file.seek(0)
            blocks = iter(lambda: self._file.read(READ_BYTES), b"")
            self.line_counts = [0, *accumulate(block.count(b"\n") for block in blocks)]
        block = min(place // READ_BYTES, len(self.line_counts) - 1)
        self._file.seek(block * READ_BYTES)
        return 1 + self.line_counts[block] + self._file.read(place - block * READ_BYTES).count(b"\n")


class SearchedFiles:
    """Files in which passages are looked for, one after the other: the last one is open."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._file: SearchedFile | None = None
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def find(self, path: str | Path, passage: str, begin: int, end: int, expected: int) -> Found | None:
        """A passage of a document as `SearchedFile.find` finds it; None also if the file cannot be read any more."""
        if str(path) != self._path:
            self._opened.close()
            self._path, self._file = str(path), None
            with suppress(OSError, UserError):
                self._file = self._opened.enter_context(SearchedFile(Path(path)))
        return None if self._file is None else self._file.find(passage, begin, end, expected)


def find_in_line(path: Path, passage: str, number: int) -> Found | None:
    """A passage in a line of a file, counted from 1."""
    begin = 0
    try:
        with open_decompressed(path) as file:
            for line in range(1, number + 1):
                text = file.readline()
                if line < number:
                    begin += len(text)
    except (OSError, UserError):
        return None
    for spelled in _spellings(passage):
        at = text.find(spelled)
        if at >= 0:
            return Found(begin + at, begin + at + len(spelled), number)
    return None


def _spellings(passage: str) -> list[bytes]:
    """The ways to spell a passage, each once."""
    return [text for text in dict.fromkeys(_every_spelling(passage)) if text]


def _every_spelling(passage: str) -> list[bytes]:
    """A passage as it stands, and as a JSON string spells it: with characters of its own, and in ASCII alone."""
    as_json = (json_text(passage, ensure_ascii=escapes)[1:-1] for escapes in (False, True))
    return [text.encode("utf-8", "replace") for text in (passage, *as_json)]


def _occurrences(window: bytes, spelled: bytes) -> Iterator[int]:
    at = window.find(spelled)
    while at >= 0:
        yield at
        at = window.find(spelled, at + 1)
