"""Web pages: the main text of each, without menus, advertisements and scripts. Each file is a document."""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import ClassVar, Literal

from gptsmith.base.errors import DataError, MissingExtraError
from gptsmith.base.files import readable_bytes
from gptsmith.data.decoding import read_text_blocks
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile

# A page is parsed as a whole, in many times its size of memory.
MAX_PAGE_BYTES = 64_000_000

# Browsers look for the declared encoding this far.
DECLARATION_BYTES = 1024
DECLARATION = re.compile(rb"<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)

UNSEEN_TAGS = frozenset({"script", "style", "template", "title"})
INLINE_TAGS = frozenset({
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins", "kbd",
    "mark", "q", "s", "samp", "small", "span", "strong", "sub", "sup", "time", "u", "var", "wbr",
})  # fmt: skip


class HtmlReader(Reader):
    kind: Literal["html"] = "html"
    extensions: ClassVar[tuple[str, ...]] = (".html", ".htm")
    libraries: ClassVar[Mapping[str, str]] = {"trafilatura": "trafilatura"}

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        if settings.encoding is None:
            settings = settings.model_copy(update={"encoding": declared_encoding(file)})
        blocks, start, end = [], None, 0
        for block, block_start, end in read_text_blocks(file, settings, max_line=None):
            start = block_start if start is None else start
            blocks.append(block)
            if end > MAX_PAGE_BYTES:
                raise DataError(
                    f"{file.path} has over {readable_bytes(MAX_PAGE_BYTES)}, the most for a web page: "
                    "split it up, or leave it out"
                )
        page = "".join(blocks)
        text = main_text(file, page) or all_text(page)
        if text:
            yield Chunk(text, start or 0, end)


def declared_encoding(file: SourceFile) -> str | None:
    """The encoding that a page says it is in, if Python has it."""
    with file.open() as stream:
        found = DECLARATION.search(stream.read(DECLARATION_BYTES))
    if not found:
        return None
    try:
        name = codecs.lookup(found[1].decode("ascii")).name
    except (LookupError, UnicodeDecodeError):
        return None
    # As browsers do: a readable declaration is not in UTF-16, and Latin-1 means its Windows superset.
    if name.startswith(("utf-16", "utf-32")):
        return None
    return "cp1252" if name in ("iso8859-1", "ascii") else name


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


def all_text(page: str) -> str:
    """All the words that a page shows, with a line for each block."""
    shown = ShownText()
    shown.feed(page)
    shown.close()
    lines = (" ".join(line.split()) for line in "".join(shown.pieces).split("\0"))
    return "\n".join(line for line in lines if line)


class ShownText(HTMLParser):
    """Gathers the words of a page in `pieces`, with a NUL where a block begins or ends."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.unseen = 0

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
