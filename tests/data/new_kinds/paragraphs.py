"""Records as paragraphs of lines `field: value`, as a test adds the format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.decoding import read_lines
from gptsmith.data.readers import Chunk, Reader, ReadSettings, Record, SourceFile
from gptsmith.data.records import documents


class ParagraphsReader(Reader):
    """Records as paragraphs."""

    kind: Literal["paragraphs"] = "paragraphs"
    extensions: ClassVar[tuple[str, ...]] = (".paragraphs",)
    holds_records: ClassVar[bool] = True

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        yield from documents(file.path, self.records(file, settings), settings.text_field)

    def records(self, file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
        fields: dict[str, str] = {}
        first = end = 0
        for line, start, end in read_lines(file, settings):
            if name := line.partition(":")[0].strip():
                first = first if fields else start
                fields[name] = line.partition(":")[2].strip()
            elif fields:
                yield Record(fields, f"byte {first}", first, end)
                fields = {}
        if fields:
            yield Record(fields, f"byte {first}", first, end)
