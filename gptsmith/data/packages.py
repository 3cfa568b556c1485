"""Zip packages of XML parts, as office programs write: opened with bounds, and their XML as a stream of events."""

from __future__ import annotations

import posixpath
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile

from gptsmith.base.errors import DataError
from gptsmith.data.files import Expansion, seekable, size_of
from gptsmith.data.readers import SourceFile

CHUNK_BYTES = 1 << 16

# A document nests some dozens of elements; tables in tables in boxes some more.
MAX_DEPTH = 500


class Event(NamedTuple):
    """The start of an element (`start`), its end (`end`), or text between two of them (`text`)."""

    type: str
    name: str
    """The element's name without its namespace; for text, the text."""

    attributes: Mapping[str, str] = {}
    """Names without namespaces."""


class Package:
    """The parts of a zip package by name."""

    def __init__(self, file: SourceFile, zip_file: ZipFile, num_bytes: int) -> None:
        self.path, self.remarks = file.path, file.remarks
        self.num_bytes = num_bytes
        """The size of the package."""

        self.zip_file = zip_file
        self.names = frozenset(zip_file.namelist())
        self.expansion = Expansion(file.path, num_bytes, file.max_expansion)

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a part, some at a time.

        Raises:
            DataError: the part is damaged, locked, or larger than the package may expand to.
        """
        try:
            with self.zip_file.open(name) as part:
                while chunk := part.read(CHUNK_BYTES):
                    self.expansion.add(len(chunk))
                    yield chunk
        except (BadZipFile, EOFError, KeyError, NotImplementedError, OSError, RuntimeError, zlib.error) as error:
            if isinstance(error, RuntimeError) and "password" in str(error):
                raise DataError(f"{self.path} is locked with a password: save it without one") from None
            raise DataError(f"{self.path} is damaged (in its part {name}): save or download it again") from None

    def events(self, name: str) -> Iterator[Event]:
        """The XML of a part; nothing if there is no such part.

        Raises:
            DataError: the part is damaged, is not XML, nests too deeply or declares entities.
        """
        if name in self.names:
            yield from xml_events(self.path, self.chunks(name), name)

    def main_part(self, name: str) -> str:
        """The name of the part that an Office file begins with, which usually is called `name`.

        Raises:
            DataError: there is none.
        """
        kind = "/officeDocument"
        for event in self.events("_rels/.rels"):
            if event.type == "start" and event.attributes.get("Type", "").endswith(kind):
                part = part_name("", event.attributes.get("Target", ""))
                if part in self.names:
                    return part
        raise DataError(f"{self.path} is damaged (it has no {name}): save or download it again")

    def relations(self, name: str) -> dict[str, str]:
        """The parts that a part of an Office file refers to, by the ids that it uses for them."""
        folder, base = posixpath.split(name)
        return {
            event.attributes.get("Id", ""): part_name(folder, event.attributes.get("Target", ""))
            for event in self.events(f"{folder}/_rels/{base}.rels")
            if event.type == "start" and event.name == "Relationship"
        }


def part_name(folder: str, target: str) -> str:
    """The name of a part that another one in `folder` refers to as `target`."""
    target = unquote(target.partition("#")[0])
    return posixpath.normpath(posixpath.join(folder, target) if not target.startswith("/") else target[1:])


@contextmanager
def opened(file: SourceFile, made_by: str) -> Iterator[Package]:
    """A zip package. `made_by` says what makes such files: "a word processor".

    Raises:
        DataError: the file is no zip archive, or a damaged one.
    """
    with seekable(file.open()) as stream:
        num_bytes = size_of(stream)
        try:
            zip_file = ZipFile(stream)
        except (BadZipFile, NotImplementedError, OSError, ValueError):
            raise DataError(
                f"{file.path} is damaged, locked with a password or not a {file.extension} file: open it in {made_by} "
                f"and save it as {file.extension} without a password"
            ) from None
        with zip_file:
            yield Package(file, zip_file, num_bytes)


def names_in(stream: BinaryIO) -> frozenset[str]:
    """The names in a zip archive; empty if it is none."""
    try:
        with ZipFile(stream) as zip_file:
            return frozenset(zip_file.namelist())
    except (BadZipFile, NotImplementedError, OSError, ValueError):
        return frozenset()


def xml_events(path: Path, chunks: Iterator[bytes], part: str = "") -> Iterator[Event]:
    """XML as a stream of events, so that a part of any size takes little memory.

    Raises:
        DataError: it is not XML, nests too deeply or declares entities.
    """
    place = f"{path} (in its part {part})" if part else str(path)
    found: list[Event] = []
    depth = 0

    def start(name: str, attributes: Mapping[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise DataError(f"{place} nests its elements over {MAX_DEPTH} deep: leave it out, or save it anew")
        found.append(Event("start", local(name), {local(key): value for key, value in attributes.items()}))

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        found.append(Event("end", local(name)))

    def entity(*_: object) -> None:
        raise DataError(f"{place} declares entities, which documents do not need: leave it out, or save it anew")

    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.EntityDeclHandler = entity
    parser.CharacterDataHandler = lambda text: found.append(Event("text", text))
    try:
        for chunk in chunks:
            parser.Parse(chunk, False)
            yield from found
            found.clear()
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise DataError(f"{place} is not sound XML ({error}): save or download it again") from None
    yield from found


def local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]
