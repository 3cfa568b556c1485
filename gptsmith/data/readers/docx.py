"""Word files: paragraphs, lists with their numbers, tables, text boxes and notes. Each file is a document.

Inserted text is read and deleted text is not, as the document shows with all changes accepted. Headers, footers and
comments are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.flow import Flow, as_document
from gptsmith.data.numbering import Counters, Level
from gptsmith.data.packages import Event, Package, opened
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile

# Their words are not the document's: instructions of fields, deleted text, what was changed, boxes said twice.
UNREAD = frozenset({
    "instrText", "del", "delText", "delInstrText", "moveFrom", "pPrChange", "rPrChange", "Fallback",
})  # fmt: skip
CHARACTERS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
MAX_LISTS = 10_000


class DocxReader(Reader):
    kind: Literal["docx"] = "docx"
    extensions: ClassVar[tuple[str, ...]] = (".docx", ".docm", ".dotx")
    is_packed: ClassVar[bool] = True

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".docx" if "word/document.xml" in members else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        with opened(file, "a word processor") as package:
            yield from as_document(pieces(package), package.num_bytes)


def pieces(package: Package) -> Iterator[str]:
    """The text of a package: the main part, then the notes, which hang on no place in it.

    Raises:
        DataError: it has no main part.
    """
    main = package.main_part("document.xml")
    relations = sorted(package.relations(main).values())
    numbering = Numbering(package, relations)
    notes = [name for end in ("footnotes.xml", "endnotes.xml") for name in relations if name.endswith(f"/{end}")]
    for part in (main, *notes):
        yield from flow_of(package.events(part), numbering)


def flow_of(events: Iterator[Event], numbering: Numbering) -> Iterator[str]:
    """The paragraphs and tables of a part, in pieces that end in line ends."""
    flow = Flow()
    unread = in_text = 0
    properties: list[dict[str, str]] = []  # of the open paragraphs
    for what, name, attributes in events:
        if name in UNREAD and what != "text":
            unread += 1 if what == "start" else -1
        elif unread:
            continue
        elif what == "text":
            if in_text:
                flow.add(name)
        elif name == "t":
            in_text += 1 if what == "start" else -1
        elif what == "start":
            if name == "p":
                flow.begin_paragraph()
                properties.append({})
            elif name in ("numId", "ilvl", "pStyle") and properties:
                properties[-1][name] = attributes.get("val", "")
            elif name == "tbl":
                flow.begin_table()
            elif name == "tc":
                flow.begin_cell()
            elif name in CHARACTERS and "pos" not in attributes and "val" not in attributes:
                # A `tab` with a position is a stop of the ruler.
                flow.add(CHARACTERS[name])
        elif name == "p":
            of_this = properties.pop()
            flow.end_paragraph(numbering.next(of_this) if flow.has_words() else "")
            yield from flow.take()
        elif name == "tr":
            flow.end_row()
            yield from flow.take()
        elif name == "tbl":
            flow.end_table()
            yield from flow.take()


class Numbering:
    """The lists of a package, and how far each has counted."""

    def __init__(self, package: Package, relations: list[str]) -> None:
        self.lists: dict[str, Counters] = {}
        self.by_style: dict[str, tuple[str, str]] = {}
        for part in relations:
            if part.endswith("numbering.xml"):
                self._read_lists(package.events(part))
            elif part.endswith("styles.xml"):
                self._read_styles(package.events(part))

    def next(self, properties: dict[str, str]) -> str:
        """The number or bullet of the next paragraph with such properties; empty for one of no list."""
        list_id, depth = self.by_style.get(properties.get("pStyle", ""), ("", "0"))
        list_id, depth = properties.get("numId", list_id), properties.get("ilvl", depth)
        counters = self.lists.get(list_id)
        return counters.next(int(depth)) if counters and depth.isdecimal() else ""

    def _read_lists(self, events: Iterator[Event]) -> None:
        templates: dict[str, dict[int, Level]] = {}
        levels: dict[int, Level] = {}
        level, list_id = Level(), ""
        for what, name, attributes in events:
            value = attributes.get("val", "")
            if what != "start" or len(self.lists) > MAX_LISTS:
                continue
            if name == "abstractNum":
                levels = templates[attributes.get("abstractNumId", "")] = {}
            elif name == "lvl" and attributes.get("ilvl", "").isdecimal():
                level = levels[int(attributes["ilvl"])] = Level()
            elif name == "numFmt":
                level.format = value
            elif name == "lvlText":
                level.template = value
            elif name == "start" and value.isdecimal():
                level.start = int(value)
            elif name == "num":
                list_id = attributes.get("numId", "")
            elif name == "abstractNumId":
                self.lists[list_id] = Counters(templates.get(value, {}))

    def _read_styles(self, events: Iterator[Event]) -> None:
        style, depth = "", "0"
        for what, name, attributes in events:
            if what != "start":
                continue
            if name == "style":
                style, depth = attributes.get("styleId", ""), "0"
            elif name == "ilvl":
                depth = attributes.get("val", "0")
            elif name == "numId":
                self.by_style[style] = (attributes.get("val", ""), depth)
