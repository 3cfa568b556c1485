"""EPUB books: the chapters in their order. Each book is a document."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.data.flow import as_document
from gptsmith.data.packages import Package, opened, part_name
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile
from gptsmith.data.readers.html import ShownText, decoded

CONTAINER = "META-INF/container.xml"
CHAPTER_TYPES = ("application/xhtml+xml", "text/html")


class EpubReader(Reader):
    kind: Literal["epub"] = "epub"
    extensions: ClassVar[tuple[str, ...]] = (".epub",)
    is_packed: ClassVar[bool] = True

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".epub" if CONTAINER in members else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        with opened(file, "a program for books") as package:
            yield from as_document(chapters(package), package.num_bytes)


def chapters(package: Package) -> Iterator[str]:
    """The text of the chapters, a line a block, with a blank line after each chapter.

    Raises:
        DataError: the book names no chapters, or they are locked.
    """
    names = spine(package)
    if not names:
        raise DataError(f"{package.path} is damaged (it names no chapters): save or download it again")
    locked = encrypted(package)
    for name in names:
        if name in locked:
            raise DataError(f"{package.path} is locked by its shop: name a copy without protection, or leave it out")
        if name not in package.names:
            package.remarks.append(f"its chapter {name} is missing")
            continue
        shown = ShownText()
        for text in decoded(package.chunks(name)):
            shown.feed(text)
            yield from shown.take_lines()
        shown.close()
        yield from shown.take_lines(last=True)
        yield "\n"


def spine(package: Package) -> list[str]:
    """The parts of the chapters, in reading order."""
    for event in package.events(CONTAINER):
        if event.type == "start" and event.name == "rootfile":
            root = part_name("", event.attributes.get("full-path", ""))
            break
    else:
        return []
    folder = posixpath.dirname(root)
    parts: dict[str, str] = {}
    order: list[str] = []
    for what, name, attributes in package.events(root):
        if what != "start":
            continue
        if name == "item" and attributes.get("media-type") in CHAPTER_TYPES:
            parts[attributes.get("id", "")] = part_name(folder, attributes.get("href", ""))
        elif name == "itemref" and (chapter := parts.get(attributes.get("idref", ""))):
            order.append(chapter)
    return list(dict.fromkeys(order))


def encrypted(package: Package) -> frozenset[str]:
    """The parts that only the shop's program can read."""
    return frozenset(
        part_name("", event.attributes.get("URI", ""))
        for event in package.events("META-INF/encryption.xml")
        if event.type == "start" and event.name == "CipherReference"
    )
