"""Plain text: a file is a document, unless it is a chat that a program exported as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.base.files import readable_bytes
from gptsmith.base.json_reader import MAX_BYTES
from gptsmith.data.chats import export_records
from gptsmith.data.decoding import as_one_document, read_text_blocks
from gptsmith.data.exports import ChatExport, export_of
from gptsmith.data.readers import Chunk, Reader, ReadSettings, Record, SourceFile
from gptsmith.data.records import documents


class TxtReader(Reader):
    """Text as it stands in the file, line endings included."""

    kind: Literal["txt"] = "txt"
    extensions: ClassVar[tuple[str, ...]] = (".txt", ".text", ".rst", ".org")
    keeps_splits: ClassVar[bool] = True

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        if self.has_records(file, settings):
            return documents(file.path, self.records(file, settings), None)
        return as_one_document(read_text_blocks(file, settings))

    def has_records(self, file: SourceFile, settings: ReadSettings) -> bool:
        return _export(file, settings) is not None

    def records(self, file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
        export = _export(file, settings)
        if export is None:
            return super().records(file, settings)
        blocks = []
        for text, _, end in read_text_blocks(file, settings):
            blocks.append(text)
            if end > MAX_BYTES:
                raise DataError(f"{file.path} has over {readable_bytes(MAX_BYTES)}, the most for a chat: split it")
        return export_records(file.path, export, "".join(blocks), 0, end)


def _export(file: SourceFile, settings: ReadSettings) -> ChatExport | None:
    """The format of the chat in a file; None if it is other text."""
    first, _, _ = next(read_text_blocks(file, settings, max_line=None), ("", 0, 0))
    return export_of(first)
