"""Word files: paragraphs and tables in their order. Each file is a document, read from all of its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal
from zipfile import BadZipFile

from gptsmith.base.errors import DataError, MissingExtraError
from gptsmith.data.files import seekable, size_of
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile


class DocxReader(Reader):
    kind: Literal["docx"] = "docx"
    extensions: ClassVar[tuple[str, ...]] = (".docx",)
    libraries: ClassVar[Mapping[str, str]] = {"docx": "python-docx"}

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        try:
            import docx
            from docx.opc.exceptions import OpcError
        except ImportError:
            raise MissingExtraError(f"{file.path}: reading .docx files", "python-docx") from None

        with seekable(file.open()) as stream:
            size = size_of(stream)
            try:
                document = docx.Document(stream)
            # A missing part is a KeyError, one that is not XML a SyntaxError, another package a ValueError.
            except (BadZipFile, OpcError, KeyError, SyntaxError, ValueError):
                raise DataError(
                    f"{file.path} is damaged, locked with a password or not a .docx file: open it in a word "
                    "processor and save it as .docx without a password"
                ) from None
        text = text_of(document)
        if text:
            yield Chunk(text, 0, size)


def text_of(container: Any) -> str:
    """The paragraphs and tables of a document or a table's cell, with a blank line between them."""
    blocks = (
        table_text(block) if hasattr(block, "rows") else block.text.strip() for block in container.iter_inner_content()
    )
    return "\n\n".join(block for block in blocks if block)


def table_text(table: Any) -> str:
    """The rows of a table on lines of their own, with tabs between the cells."""
    seen = set()
    lines = []
    for row in table.rows:
        texts = []
        for cell in row.cells:
            # A cell that spans several columns or rows is there for each of them.
            if cell._tc not in seen:
                seen.add(cell._tc)
                texts.append(text_of(cell))
        lines.append("\t".join(texts).strip())
    return "\n".join(line for line in lines if line)
