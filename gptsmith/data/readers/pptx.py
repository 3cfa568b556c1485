"""PowerPoint files: the text of the slides in their order, each with its notes. Each file is a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.flow import Flow, as_document
from gptsmith.data.packages import Event, Package, opened
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile

# The parts of a slide that say where it stands, not what it is about.
PLACEHOLDERS = frozenset({"sldNum", "dt", "ftr", "hdr", "sldImg"})


class PptxReader(Reader):
    kind: Literal["pptx"] = "pptx"
    extensions: ClassVar[tuple[str, ...]] = (".pptx", ".pptm", ".ppsx")
    is_packed: ClassVar[bool] = True

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".pptx" if "ppt/presentation.xml" in members else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        with opened(file, "a presentation program") as package:
            yield from as_document(slides(package), package.num_bytes)


def slides(package: Package) -> Iterator[str]:
    """The paragraphs of the slides and their notes."""
    main = package.main_part("presentation.xml")
    relations = package.relations(main)
    ids = [
        event.attributes.get("id", "")
        for event in package.events(main)
        if event.type == "start" and event.name == "sldId"
    ]
    for slide in (relations[one] for one in ids if one in relations):
        yield from flow_of(package.events(slide))
        for part in package.relations(slide).values():
            if "notesSlide" in part:
                yield from flow_of(package.events(part))


def flow_of(events: Iterator[Event]) -> Iterator[str]:
    """The paragraphs and tables of a slide, in pieces that end in line ends."""
    flow = Flow()
    in_text = fallback = False
    placeholder = ""
    for what, name, attributes in events:
        if name == "Fallback" and what != "text":
            fallback = what == "start"
        elif fallback:
            continue
        elif what == "text":
            if in_text and placeholder not in PLACEHOLDERS:
                flow.add(name)
        elif name == "t":
            in_text = what == "start"
        elif what == "start":
            if name == "sp":
                placeholder = ""
            elif name == "ph":
                placeholder = attributes.get("type", "")
            elif name == "p":
                flow.begin_paragraph()
            elif name == "br":
                flow.add("\n")
            elif name == "tbl":
                flow.begin_table()
            elif name == "tc":
                flow.begin_cell()
        elif name == "p":
            flow.end_paragraph()
        elif name == "sp":
            placeholder = ""
        elif name == "tr":
            flow.end_row()
        elif name == "tbl":
            flow.end_table()
        yield from flow.take()
