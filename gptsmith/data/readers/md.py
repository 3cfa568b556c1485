"""Markdown: a file is a document, without the front matter that some tools put above the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.decoding import Block, as_one_document, read_blocks
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile

# Only lines that look like YAML count, so that a text which opens with a thematic break keeps its first section.
FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(?:(?:[\w\"'][^\n:]*:|[ \t#-])[^\n]*\n|\r?\n)*?---[ \t]*(?:\r?\n|\Z)")


class MdReader(Reader):
    """Markdown as it stands in the file, below its front matter."""

    kind: Literal["md"] = "md"
    extensions: ClassVar[tuple[str, ...]] = (".md", ".markdown", ".mdx", ".qmd", ".rmd")

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        return as_one_document(_without_front_matter(read_blocks(file, settings)))


def _without_front_matter(blocks: Iterator[Block]) -> Iterator[tuple[str, int, int]]:
    for number, (text, start, end, encoding) in enumerate(blocks):
        front = FRONT_MATTER.match(text) if number == 0 else None
        if front:
            start += len(front.group().encode(encoding))
            text = text[front.end() :]
        if text:
            yield text, start, end
