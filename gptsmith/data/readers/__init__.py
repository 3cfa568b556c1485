"""The kinds of source file: each file reads one family of formats and names the extensions that it reads.

Contract: `reader.read(file, settings)` yields the file's documents as chunks, in order; a long document comes as
several chunks of a few MB, so that no file needs to fit in memory. A reader of a format with records also yields
those: `reader.records(file)`. A `UserError` says why a file cannot be read.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings


class ReadSettings(Settings):
    """How source files are read."""

    encoding: str | None = None
    """The encoding of text files that are not UTF-8; a byte-order mark in the file wins."""

    text_field: str | None = None
    """The field or column of records that has the text; detected by name or by length if not given."""


@dataclass(frozen=True)
class Chunk:
    """A piece of a document's text, and the bytes of the (decompressed) file that it was read from."""

    text: str
    start: int
    end: int
    last: bool = True
    """Whether the document ends here."""

    fields: tuple[str, ...] = ()
    """The fields of a record that the text was read from; none if the file holds no records."""


@dataclass(frozen=True)
class Record:
    """A record, and the bytes of the (decompressed) file that it was read from."""

    fields: Mapping[str, Any]
    place: str
    """Where a person finds it: `line 7`."""

    start: int
    end: int
    problem: str | None = None
    """Why it cannot be read, such as a line that is not JSON; None if it can. The records after it can be read."""


@dataclass(frozen=True)
class SourceFile:
    """A file to read. `open` gives its bytes, decompressed."""

    path: Path
    extension: str
    """In lower case with its dot, without the ending of a compression: `.jsonl` for `news.JSONL.gz`."""

    def open(self) -> BinaryIO:
        from gptsmith.data.files import open_decompressed

        return open_decompressed(self.path)


class Reader(Settings):
    """A reader of a family of formats."""

    kind: str
    extensions: ClassVar[tuple[str, ...]]
    libraries: ClassVar[Mapping[str, str]] = {}
    """The modules of other packages that it imports, each with the name of its package."""
    holds_records: ClassVar[bool] = False
    """Whether its files hold records: named fields, from which examples can be made."""

    @abstractmethod
    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        """The documents of a file."""

    def has_records(self, file: SourceFile, settings: ReadSettings) -> bool:
        """Whether a file holds records; most formats always do, or never."""
        return self.holds_records

    def records(self, file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
        """The records of a file that has some, with all of their fields."""
        raise NotImplementedError(f"{self.kind} files hold no records")


KINDS = Kinds(__name__, Reader)
