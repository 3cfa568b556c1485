"""Passages in the files of today: whether these are still what was learnt from, and where in them a passage stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Literal

from gptsmith.base.errors import CheckpointError, UserError
from gptsmith.base.files import sha256_of
from gptsmith.data.files import COMPRESSIONS, open_decompressed
from gptsmith.run.paths import RunPaths

State = Literal["unchanged", "changed", "missing"]
READ_BYTES = 1 << 20
AROUND_BYTES = 1 << 20
"""How far from its expected place a passage of a long document is looked for."""


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


class SourceFiles:
    """The files that a run learnt from, as they are now.

    Args:
        recorded: the SHA-256 of each file when it was read, by the path that the run names.
    """

    def __init__(self, paths: RunPaths, recorded: Mapping[str, str]) -> None:
        self._paths, self.recorded = paths, dict(recorded)
        self._path_of = {sha256: path for path, sha256 in reversed(self.recorded.items())}
        self._hashes: dict[tuple[Path, int, int], str] = {}
        self._lines: dict[tuple[Path, int, int], list[int]] = {}

    def named(self, sha256: str, path: str) -> str:
        """The path that the run names for a file of that content: the same content may have been read from another."""
        return self._path_of.get(sha256, path)

    def state(self, path: str) -> tuple[Path | None, State]:
        """Where a file lies now, and whether it holds what was learnt from. A file is hashed again only after it was
        written."""
        try:
            located = Path(self._paths.located(path))
            key = _version(located)
            if key not in self._hashes:
                self._hashes[key] = sha256_of(located)
        except (CheckpointError, OSError):
            return None, "missing"
        return located, "unchanged" if self._hashes[key] == self.recorded.get(path) else "changed"

    def find(self, path: Path, passage: str, begin: int, end: int, expected: int) -> Found | None:
        """A passage in a document that was read from the bytes `begin` to `end` of a file, as near as it can be to the
        byte where it is expected; as it stands, or as a JSON string spells it. None if it is not there, as in formats
        whose text is packed or marked up."""
        if end - begin > 2 * AROUND_BYTES:
            begin, end = max(begin, expected - AROUND_BYTES), min(end, expected + AROUND_BYTES)
        try:
            with open_decompressed(path) as file:
                line = 1 + self._num_lines_before(path, file, begin)
                window = b"".join(_read(file, end - begin))
        except (OSError, UserError):
            return None
        for spelled in _spellings(passage):
            places = list(_occurrences(window, spelled))
            if places:
                at = min(places, key=lambda place: abs(begin + place - expected))
                return Found(begin + at, begin + at + len(spelled), line + window.count(b"\n", 0, at))
        return None

    def _num_lines_before(self, path: Path, file: BinaryIO, begin: int) -> int:
        """The line ends before a byte of a file, which is read on from there. Those of a file that is not packed are
        counted once, block by block."""
        if path.suffix.lower() in COMPRESSIONS:
            return sum(block.count(b"\n") for block in _read(file, begin))
        key = _version(path)
        if key not in self._lines:
            counts = (block.count(b"\n") for block in _read(file, key[1]))
            self._lines[key] = [0, *accumulate(counts)]
        block = min(begin // READ_BYTES, len(self._lines[key]) - 1)
        file.seek(block * READ_BYTES)
        return self._lines[key][block] + sum(part.count(b"\n") for part in _read(file, begin - block * READ_BYTES))


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


def _version(path: Path) -> tuple[Path, int, int]:
    """A file as it is now: its size and when it was written."""
    status = path.stat()
    return path, status.st_size, status.st_mtime_ns


def _spellings(passage: str) -> list[bytes]:
    """A passage as it stands, and as JSON strings spell it."""
    as_json = (json.dumps(passage, ensure_ascii=ascii)[1:-1] for ascii in (False, True))  # noqa: A001
    return [text.encode("utf-8", "replace") for text in dict.fromkeys((passage, *as_json)) if text]


def _occurrences(window: bytes, spelled: bytes) -> Iterator[int]:
    at = window.find(spelled)
    while at >= 0:
        yield at
        at = window.find(spelled, at + 1)


def _read(file: BinaryIO, num_bytes: int) -> Iterator[bytes]:
    """The next bytes of a file, in blocks."""
    while num_bytes > 0 and (block := file.read(min(num_bytes, READ_BYTES))):
        num_bytes -= len(block)
        yield block
