"""LaTeX: the source between \\begin{document} and \\end{document}, without comments. Each file is a document.

Commands and formulas stay as they are written, as the field's collections of papers keep them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.decoding import as_one_document, read_lines
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile

BLOCK_CHARACTERS = 1_000_000

# A percent sign that no backslash escapes, and what follows it.
COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%.*")
BEGIN, END = r"\begin{document}", r"\end{document}"


class TexReader(Reader):
    kind: Literal["tex"] = "tex"
    extensions: ClassVar[tuple[str, ...]] = (".tex", ".ltx")

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".tex" if re.search(rb"^\s*\\documentclass\b", head, re.MULTILINE) else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        return as_one_document(blocks(file, settings))


def blocks(file: SourceFile, settings: ReadSettings) -> Iterator[tuple[str, int, int]]:
    """The body in blocks of lines, as (text, start byte, end byte). A file without a preamble is all body."""
    has_preamble = any(BEGIN in COMMENT.sub("", line) for line, _, _ in read_lines(file, settings))
    in_body = not has_preamble
    gathered: list[str] = []
    length, begin, position = 0, None, 0
    for line, start, end in read_lines(file, settings):
        text = COMMENT.sub(r"\1", line)
        if not in_body:
            if BEGIN not in text:
                continue
            in_body, text = True, text.partition(BEGIN)[2]
        body, ended, _ = text.partition(END)
        # A line that is only a comment is not a blank line, which would end the paragraph.
        if body.strip() or not line.strip():
            begin = start if begin is None else begin
            position = end
            gathered.append(body.rstrip() + "\n")
            length += len(body)
        if ended:
            break
        if length > BLOCK_CHARACTERS and begin is not None:
            yield "".join(gathered), begin, position
            gathered, length, begin = [], 0, None
    if "".join(gathered).strip() and begin is not None:
        yield "".join(gathered), begin, position
