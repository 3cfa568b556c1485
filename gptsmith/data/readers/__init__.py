"""The kinds of source file: each file reads one family of formats and names the extensions that it reads.

Contract: `reader.read(file, settings)` yields the file's documents as chunks, in order; a long document comes as
several chunks of a few MB, so that no file needs to fit in memory. A reader of a format with records also yields
those: `reader.records(file)`. A `UserError` says why a file cannot be read; `file.remarks` takes a line about what of
it is not. Other rooms read through `gptsmith.data.reading`, which bounds what a file unpacks to.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

from pydantic import Field, field_validator

from gptsmith.base.errors import ConfigurationError, did_you_mean
from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.data.care import finders
from gptsmith.data.encodings import text_encoding
from gptsmith.data.files import MAX_EXPANSION, open_decompressed, seekable, size_of


class ReadSettings(Settings):
    """How source files are read."""

    encoding: str | None = None
    """The encoding of the text files that are not UTF-8 and declare none, by a byte-order mark or as web pages do."""

    encoding_errors: Literal["strict", "replace"] = "strict"
    """Whether a file with bytes that are not in its encoding is refused (strict) or read with U+FFFD for them."""

    max_expansion: int = Field(MAX_EXPANSION, ge=1)
    """How many times its own size a file may unpack to, beyond 100 MB: more is refused as made to fill the disk."""

    text_field: str | None = None
    """The field or column of records that has the text; detected by name or by length if not given."""

    redact: list[str] = Field(default_factory=list)
    """Kinds of findings, as `gptsmith audit` names them, that are replaced by placeholders such as `<EMAIL>`; true for
    all."""

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, value: str | None) -> str | None:
        if value is not None:
            text_encoding(value)
        return value

    @field_validator("redact", mode="before")
    @classmethod
    def _are_kinds(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return finders.kinds_by_form() if value else []
        for kind in value if isinstance(value, list | tuple) else ():
            if kind not in (names := finders.kinds_by_form()):
                raise ConfigurationError(f"no such kind of finding: {kind} ({did_you_mean(str(kind), names)})")
        return value


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

    row: str | None = None
    """The line that it is in a document, if that is a whole sheet; None if it is a document of its own."""


@dataclass(frozen=True)
class SourceFile:
    """A file to read. `open` gives its bytes, decompressed."""

    path: Path
    extension: str
    """In lower case with its dot, without the ending of a compression: `.jsonl` for `news.JSONL.gz`."""

    max_expansion: int = MAX_EXPANSION
    """How many times its own size the file may unpack to."""

    remarks: list[str] = field(default_factory=list, compare=False, repr=False)
    """Lines for a person about text of the file that is not read, which its reader adds while it reads."""

    def open(self) -> BinaryIO:
        return open_decompressed(self.path, self.max_expansion)


def size_of_file(file: SourceFile) -> int:
    """The number of bytes in a file, decompressed."""
    with seekable(file.open()) as stream:
        return size_of(stream)


class Reader(Settings):
    """A reader of a family of formats."""

    kind: str
    extensions: ClassVar[tuple[str, ...]]
    libraries: ClassVar[Mapping[str, str]] = {}
    """The modules of other packages that it imports, each with the name of its package."""

    holds_records: ClassVar[bool] = False
    """Whether its files hold records: named fields, from which examples can be made."""

    is_packed: ClassVar[bool] = False
    """Whether its files are packed, so that no lines or bytes can be taken out of them."""

    keeps_splits: ClassVar[bool] = False
    """Whether its files are what data sets are made of, so that one called train or test holds that split."""

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        """The extension that a file with none or an unknown one should have if it is of this kind, else None: known by
        its first 4 kB, or by the names in it if it is a zip archive."""
        return None

    @abstractmethod
    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        """The documents of a file."""

    def has_rows(self, file: SourceFile) -> bool:
        """Whether each line of a file's documents is a row of a table, which can be left out by itself."""
        return False

    def has_records(self, file: SourceFile, settings: ReadSettings) -> bool:
        """Whether a file holds records; most formats always do, or never."""
        return self.holds_records

    def records(self, file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
        """The records of a file that has some, with all of their fields."""
        raise NotImplementedError(f"{self.kind} files hold no records")


KINDS = Kinds(__name__, Reader)
