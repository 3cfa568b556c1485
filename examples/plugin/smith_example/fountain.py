"""Screenplays in Fountain (fountain.io): the text without the writer's notes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.decoding import as_one_document, read_blocks
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile

NOTE = re.compile(r"\[\[[^\]\n]*\]\]")


class FountainReader(Reader):
    """A screenplay as one document, without [[notes]]."""

    kind: Literal["fountain"] = "fountain"
    extensions: ClassVar[tuple[str, ...]] = (".fountain",)

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        blocks = read_blocks(file, settings)
        return as_one_document((NOTE.sub("", text), start, end) for text, start, end, _ in blocks)
