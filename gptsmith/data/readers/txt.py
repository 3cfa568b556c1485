"""Plain text: a file is a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.decoding import as_one_document, read_text_blocks
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile


class TxtReader(Reader):
    """Text as it stands in the file, line endings included."""

    kind: Literal["txt"] = "txt"
    extensions: ClassVar[tuple[str, ...]] = (".txt", ".text", ".rst", ".org")

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        return as_one_document(read_text_blocks(file, settings))
