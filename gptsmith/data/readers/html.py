"""Web pages: the main text of each, without menus, advertisements and scripts. Each file is a document."""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from itertools import chain
from typing import ClassVar, Literal

from gptsmith.base.errors import DataError, MissingExtraError
from gptsmith.base.files import readable_bytes
from gptsmith.data.decoding import BYTE_ORDER_MARKS, read_text_blocks
from gptsmith.data.encodings import text_encoding
from gptsmith.data.flow import as_document
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile, size_of_file

# The main text is found in a tree that takes about eighty times the page's size of memory; larger pages are read in a
# stream, menus included.
MAX_TREE_BYTES = 8_000_000

# An unfinished tag is held in memory, and looked at again with each piece that is read.
MAX_TAG_CHARACTERS = 1_000_000

# A page without blocks is divided into lines of about this length.
MAX_LINE_CHARACTERS = 100_000
FED_CHARACTERS = 100_000

# Browsers look for the declared encoding this far.
DECLARATION_BYTES = 1024
DECLARATION = re.compile(rb"<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)

PAGE = re.compile(rb"\xef?\xbb?\xbf?\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html)\b", re.IGNORECASE)

UNSEEN_TAGS = frozenset({"script", "style", "template", "title"})
INLINE_TAGS = frozenset({
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins", "kbd",
    "mark", "q", "s", "samp", "small", "span", "strong", "sub", "sup", "time", "u", "var", "wbr",
})  # fmt: skip


class HtmlReader(Reader):
    kind: Literal["html"] = "html"
    extensions: ClassVar[tuple[str, ...]] = (".html", ".htm", ".xhtml")
    libraries: ClassVar[Mapping[str, str]] = {"trafilatura": "trafilatura"}

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".html" if PAGE.match(head) else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        with file.open() as stream:
            declared = declared_encoding(stream.read(DECLARATION_BYTES))
        blocks: list[str] = []
        end = 0
        pages = read_text_blocks(file, settings, max_line=None, declared=declared)
        for block, _, end in pages:
            blocks.append(block)
            if end > MAX_TREE_BYTES:
                file.remarks.append(
                    f"over {readable_bytes(MAX_TREE_BYTES)}: read with its menus, because the main text of so large "
                    "a page is not looked for"
                )
                rest = (block for block, _, _ in pages)
                yield from as_document(shown_lines(chain(blocks, rest)), size_of_file(file))
                return
        page = "".join(blocks)
        text = main_text(file, page)
        if text:
            yield Chunk(text, 0, end)
        else:
            yield from as_document(shown_lines([page]), end)


def declared_encoding(head: bytes) -> str | None:
    """The encoding that a page says it is in, if it is one of text that Python has."""
    found = DECLARATION.search(head)
    name = known_encoding(found[1].decode("ascii", "replace")) if found else None
    # As browsers do: a readable declaration is not in UTF-16.
    return None if name and name.startswith(("utf-16", "utf-32")) else name


def known_encoding(name: str) -> str | None:
    """Python's name of an encoding of text, None if it has none. As in browsers, Latin-1 means its Windows superset."""
    try:
        known = text_encoding(name)
    except DataError:
        return None
    return "cp1252" if known in ("iso8859-1", "ascii") else known


def decoded(chunks: Iterable[bytes], declared: str | None = None) -> Iterator[str]:
    """The text of a page inside another file, such as a chapter or a mail; bytes that are no text become U+FFFD.

    `declared` is the encoding that the other file says it is in; one that does not exist counts as not said.
    """
    decoder = None
    for chunk in chunks:
        if decoder is None:
            marked = next(
                ((name, len(mark)) for mark, name in BYTE_ORDER_MARKS.items() if chunk.startswith(mark)), None
            )
            said = known_encoding(declared) if declared else declared_encoding(chunk[:DECLARATION_BYTES])
            encoding, skipped = marked or (said or "utf-8", 0)
            decoder = codecs.getincrementaldecoder(encoding)("replace")
            chunk = chunk[skipped:]
        yield decoder.decode(chunk)
    if decoder is not None:
        yield decoder.decode(b"", final=True)


def main_text(file: SourceFile, page: str) -> str:
    """What a page is about, in paragraphs; empty where nothing looks like it.

    Raises:
        MissingExtraError: the library that finds it is not installed.
    """
    try:
        import trafilatura
    except ImportError:
        raise MissingExtraError(f"{file.path}: reading web pages", "trafilatura") from None
    # It logs pages in which it finds nothing, which are ordinary here.
    for name in ("trafilatura", "htmldate"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return (trafilatura.extract(page, include_comments=False) or "").strip()


def shown_lines(page: Iterable[str]) -> Iterator[str]:
    """The words that a page shows, a line for each block."""
    shown = ShownText()
    for text in page:
        for start in range(0, len(text), FED_CHARACTERS):
            shown.feed(text[start : start + FED_CHARACTERS])
            yield from shown.take_lines()
    shown.close()
    yield from shown.take_lines(last=True)


class ShownText(HTMLParser):
    """Gathers the words of a page in `pieces`, with a NUL where a block begins or ends."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.unseen = 0

    def feed(self, data: str) -> None:
        super().feed(data)
        if len(self.rawdata) > MAX_TAG_CHARACTERS:
            self.rawdata = ""

    def take_lines(self, last: bool = False) -> Iterator[str]:
        """The lines of the blocks that ended since the last time; with `last`, of the open one too."""
        *blocks, rest = "".join(self.pieces).split("\0")
        if not last and len(rest) > MAX_LINE_CHARACTERS:
            # Words go on in the next line, so that a page without blocks is not held in memory.
            cut = rest.rfind(" ") + 1 or len(rest)
            blocks.append(rest[:cut])
            rest = rest[cut:]
        self.pieces = [] if last else [rest]
        for block in [*blocks, rest] if last else blocks:
            if line := " ".join(block.split()):
                yield line + "\n"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.unseen += tag in UNSEEN_TAGS
        self.end_block(tag)

    def handle_endtag(self, tag: str) -> None:
        self.unseen = max(0, self.unseen - (tag in UNSEEN_TAGS))
        self.end_block(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.end_block(tag)

    def handle_data(self, data: str) -> None:
        if not self.unseen:
            self.pieces.append(data.replace("\0", ""))

    def end_block(self, tag: str) -> None:
        if tag not in INLINE_TAGS:
            self.pieces.append("\0")
