"""OpenDocument files, as LibreOffice writes them: text, sheets and slides. Each file is a document.

Text boxes and notes follow the paragraph that they hang on. Deleted text, comments, headers and footers are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.data.flow import Flow, as_document
from gptsmith.data.numbering import BULLET, Counters, Level
from gptsmith.data.packages import Event, Package, opened
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile

CONTENT = "content.xml"

# Their words are not the document's: deleted text, comments, the signs of notes, the forms of indexes, styles.
UNREAD = frozenset({
    "tracked-changes", "annotation", "note-citation", "automatic-styles", "font-face-decls", "scripts",
    "table-of-content-source", "alphabetical-index-source", "bibliography-source", "illustration-index-source",
    "table-index-source", "object-index-source", "user-index-source", "forms", "date-style", "number-style",
})  # fmt: skip
PARAGRAPHS = ("p", "h")
FORMATS = {"1": "decimal", "a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman", "": "none"}

# A run of spaces, or of equal cells, is a number in the file.
MAX_REPEATED = 1000


class OdtReader(Reader):
    kind: Literal["odt"] = "odt"
    extensions: ClassVar[tuple[str, ...]] = (".odt", ".ott", ".ods", ".odp")
    is_packed: ClassVar[bool] = True

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        is_opendocument = CONTENT in members and b"mimetypeapplication/vnd.oasis.opendocument" in head
        return ".odt" if is_opendocument else None

    def has_rows(self, file: SourceFile) -> bool:
        return file.extension == ".ods"

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        with opened(file, "LibreOffice") as package:
            if CONTENT not in package.names:
                raise DataError(f"{file.path} is damaged (it has no {CONTENT}): save or download it again")
            if locked(package):
                raise DataError(f"{file.path} is locked with a password: save it without one")
            yield from as_document(flow_of(package), package.num_bytes)


def locked(package: Package) -> bool:
    """Whether the parts of a package are encrypted."""
    return any(event.name == "encryption-data" for event in package.events("META-INF/manifest.xml"))


def flow_of(package: Package) -> Iterator[str]:
    """The paragraphs and tables of a package, in pieces that end in line ends."""
    flow = Flow()
    lists = Lists(package)
    unread = 0
    for event in package.events(CONTENT):
        what, name, attributes = event
        if name in UNREAD and what != "text":
            unread += 1 if what == "start" else -1
        elif unread:
            continue
        elif what == "text":
            # Line ends and runs of spaces in the file are a space; others are elements.
            flow.add(without_runs(name))
        elif what == "start":
            begin(flow, name, attributes)
            lists.begin(name, attributes)
        elif name in PARAGRAPHS:
            flow.end_paragraph(lists.prefix() if flow.has_words() else "")
            yield from flow.take()
        elif name == "table-row":
            flow.end_row()
            yield from flow.take()
        elif name == "table":
            flow.end_table()
            yield from flow.take()
        else:
            lists.end(name)


def begin(flow: Flow, name: str, attributes: Mapping[str, str]) -> None:
    """Take the start of an element into the flow."""
    if name in PARAGRAPHS:
        flow.begin_paragraph()
    elif name == "table":
        flow.begin_table()
    elif name in ("table-cell", "covered-table-cell"):
        flow.begin_cell()
    elif name == "s":
        flow.add(" " * repeated(attributes.get("c", "1")))
    elif name == "tab":
        flow.add("\t")
    elif name == "line-break":
        flow.add("\n")


class Lists:
    """The open lists and their numbers."""

    def __init__(self, package: Package) -> None:
        self.styles: dict[str, dict[int, Level]] = {}
        for part in ("styles.xml", CONTENT):
            self._read_styles(package.events(part))
        self.counters: dict[str, Counters] = {}
        self.open: list[tuple[Counters, str]] = []
        self.pending: list[bool] = []  # of the open items: whether the number is still to be written

    def begin(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "list":
            style = attributes.get("style-name") or (self.open[-1][1] if self.open else "")
            if self.open and style == self.open[-1][1]:
                counters = self.open[-1][0]
            elif style in self.counters and (
                attributes.get("continue-numbering") == "true" or "continue-list" in attributes
            ):
                counters = self.counters[style]
            else:
                counters = self.counters[style] = Counters(self.styles.get(style, {}))
            self.open.append((counters, style))
        elif name == "list-item":
            self.pending.append(True)
        elif name == "list-header":
            self.pending.append(False)

    def end(self, name: str) -> None:
        if name == "list" and self.open:
            self.open.pop()
        elif name in ("list-item", "list-header") and self.pending:
            self.pending.pop()

    def prefix(self) -> str:
        """The number or bullet before the paragraph that ends; empty if it begins no item."""
        if not self.open or not self.pending or not self.pending[-1]:
            return ""
        self.pending[-1] = False
        return self.open[-1][0].next(len(self.open) - 1)

    def _read_styles(self, events: Iterator[Event]) -> None:
        levels: dict[int, Level] = {}
        for what, name, attributes in events:
            if what != "start":
                continue
            if name == "body":
                return
            depth = attributes.get("level", "")
            if name == "list-style":
                levels = self.styles[attributes.get("name", "")] = {}
            elif name == "list-level-style-bullet" and depth.isdecimal():
                levels[int(depth) - 1] = Level("bullet", BULLET)
            elif name == "list-level-style-number" and depth.isdecimal():
                levels[int(depth) - 1] = number_level(int(depth), attributes)


def number_level(depth: int, attributes: Mapping[str, str]) -> Level:
    """A level of a numbered list."""
    shown = repeated(attributes.get("display-levels", "1"))
    numbers = ".".join(f"%{level}" for level in range(max(1, depth - shown + 1), depth + 1))
    template = attributes.get("num-prefix", "") + numbers + attributes.get("num-suffix", "")
    start = attributes.get("start-value", "1")
    style = FORMATS.get(attributes.get("num-format", ""), "decimal")
    return Level(style, template, repeated(start))


def repeated(number: str) -> int:
    """A small number that stands in an attribute."""
    return min(int(number), MAX_REPEATED) if number.isdecimal() and len(number) < 9 else 1


def without_runs(text: str) -> str:
    """Text with a space for each run of white space."""
    words = " ".join(text.split())
    if not words:
        return " " if text else ""
    return (" " if text[0].isspace() else "") + words + (" " if text[-1].isspace() else "")
