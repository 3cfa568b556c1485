"""Programs: a file is a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.decoding import as_one_document, read_text_blocks
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile

EXTENSIONS = """
.asm .bash .c .cc .clj .cpp .cs .css .cu .cxx .dart .el .erl .ex .exs .f90 .fs .glsl .go .groovy .h .hpp .hs .java
.jl .js .jsx .kt .kts .lisp .lua .m .mjs .ml .mli .mm .nim .php .pl .pm .proto .ps1 .py .pyi .pyx .r .rb .rkt .rs
.s .scala .scm .scss .sh .sol .sql .swift .tcl .ts .tsx .v .vb .vhdl .vue .zig .zsh
"""


class CodeReader(Reader):
    """The program as it stands in the file."""

    kind: Literal["code"] = "code"
    extensions: ClassVar[tuple[str, ...]] = tuple(EXTENSIONS.split())

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        return as_one_document(read_text_blocks(file, settings))
