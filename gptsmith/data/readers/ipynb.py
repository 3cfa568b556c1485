"""Jupyter notebooks: the text and the code of the cells in order, without their output. Each file is a document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.base.files import readable_bytes
from gptsmith.data.decoding import read_text_blocks
from gptsmith.data.flow import as_document
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile

# JSON is parsed as a whole, in several times its size of memory; most of a large notebook is pictures.
MAX_NOTEBOOK_BYTES = 128_000_000
NOTEBOOK = re.compile(rb'\s*\{\s*"(?:cells|nbformat|worksheets)"\s*:')


class IpynbReader(Reader):
    kind: Literal["ipynb"] = "ipynb"
    extensions: ClassVar[tuple[str, ...]] = (".ipynb",)

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".ipynb" if NOTEBOOK.match(head) and b'"cell_type"' in head else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        blocks, end = [], 0
        for block, _, end in read_text_blocks(file, settings, max_line=None):
            blocks.append(block)
            if end > MAX_NOTEBOOK_BYTES:
                raise DataError(
                    f"{file.path} has over {readable_bytes(MAX_NOTEBOOK_BYTES)}, the most for a notebook: "
                    "clear its outputs with jupyter nbconvert --clear-output, or leave it out"
                )
        try:
            notebook = json.loads("".join(blocks))
        except (ValueError, RecursionError):
            raise DataError(f"{file.path} is no notebook (not JSON): open it in Jupyter and save it again") from None
        yield from as_document((source + "\n\n" for source in sources(file, notebook)), end)


def sources(file: SourceFile, notebook: Any) -> Iterator[str]:
    """The text of each cell that has some.

    Raises:
        DataError: there are no cells.
    """
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if cells is None and isinstance(notebook, dict):
        # Before version 4, cells stood in worksheets.
        sheets = notebook.get("worksheets") or [{}]
        cells = sheets[0].get("cells") if isinstance(sheets, list) and isinstance(sheets[0], dict) else None
    if not isinstance(cells, list):
        raise DataError(f"{file.path} is no notebook (it has no cells): open it in Jupyter and save it again")
    for cell in cells:
        if isinstance(cell, dict):
            source = cell.get("source", cell.get("input", ""))
            lines = source if isinstance(source, list) else [source]
            text = "".join(line for line in lines if isinstance(line, str)).strip("\n")
            if text.strip():
                yield text
