"""The lines of print on the pages of a PDF file, found in a process of its own.

A small file can stand for any amount of memory, and the library that reads PDF ends its process where it gets none. So
`read_pages` runs this module as a program, under a limit: it reads the file that is its standard input, and writes a
line of JSON for each page.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from gptsmith.base.json_text import json_text

MEMORY_BYTES = 1_500_000_000

# How the library writes the hyphen of a word that was broken at the end of a line.
BROKEN_WORD = "\x02\ufffe\u00ad"
LINE_ENDS = "\r\n" + BROKEN_WORD

# White space in a line that is wider than this part of its height is between columns or cells.
GAP = 1.7

# White space that is wider than this is a space, also where the file has none.
SPACE = 0.15

Boxed = tuple[str, float, float, float, float]
"""A line's text, and its box: left, bottom, right, top."""


def read_pages(stream: BinaryIO) -> Generator[dict[str, Any], None, None]:
    """What the program says of a file: `{"num_pages": 2}`, then `{"height": ..., "lines": [...]}` for each page, or
    instead of one, `{"problem": ...}`, the library's own words; last `{"ended": true}`, unless it came to no end."""
    program = [sys.executable, "-m", "gptsmith.data.pdf_pages", str(MEMORY_BYTES)]
    # Modules are looked for in the working folder first: nobody else's.
    folder = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        program, cwd=folder, stdin=stream, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )  # fmt: skip
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.endswith(b"\n"):
                yield json.loads(line)
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def main() -> None:
    """Write what is on the pages of the file that is the standard input."""
    limit_memory(int(sys.argv[1]))
    from pypdfium2 import PdfDocument, PdfiumError

    def say(**message: Any) -> None:
        sys.stdout.write(json_text(message) + "\n")
        sys.stdout.flush()

    os.lseek(0, 0, os.SEEK_SET)
    try:
        with os.fdopen(0, "rb") as stream, closing(PdfDocument(stream)) as pdf:
            num_pages = len(pdf)
            say(num_pages=num_pages)
            for index in range(num_pages):
                with closing(pdf[index]) as page, closing(page.get_textpage()) as text_page:
                    say(height=page.get_height(), lines=list(lines_of(text_page)))
    except PdfiumError as error:
        say(problem=str(error))
    say(ended=True)


def limit_memory(num_bytes: int) -> None:
    """Ask the system, where it can do so, to give this process no more memory, and to keep no image of its end."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, value in ((resource.RLIMIT_AS, num_bytes), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(limit, (value, value))
        except (OSError, ValueError):
            continue


def lines_of(text_page: Any) -> Iterator[Boxed]:
    """The lines of a page, divided where white space is as wide as between columns."""
    import pypdfium2.raw as pdfium

    rectangle = pdfium.FS_RECTF()
    pieces: list[str] = []
    box = [0.0, 0.0, 0.0, 0.0]
    high = ""
    for index in range(text_page.count_chars()):
        character = chr(pdfium.FPDFText_GetUnicode(text_page, index))
        if character in LINE_ENDS:
            if character in BROKEN_WORD:
                pieces.append("\u00ad")
            yield from _line(pieces, box)
            pieces = []
        elif "\ud800" <= character < "\udc00":
            high = character
        elif character.isspace():
            pieces.append(" ")
        elif character != "\0":
            # Halves of a character are two of them here.
            character = (high + character).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
            high = ""
            pdfium.FPDFText_GetLooseCharBox(text_page, index, rectangle)
            x0, y0, x1, y1 = rectangle.left, rectangle.bottom, rectangle.right, rectangle.top
            height = y1 - y0
            if pieces and (x0 - box[2] > GAP * height or x0 < box[0] - GAP * height):
                yield from _line(pieces, box)
                pieces = []
            if not pieces or (len(pieces) == 1 and pieces[0] == " "):
                box = [x0, y0, x1, y1]
            else:
                if x0 - box[2] > SPACE * height and pieces[-1] != " ":
                    pieces.append(" ")
                box = [min(box[0], x0), min(box[1], y0), max(box[2], x1), max(box[3], y1)]
            pieces.append(character)
    yield from _line(pieces, box)


def _line(pieces: list[str], box: list[float]) -> Iterator[Boxed]:
    text = "".join(pieces).strip()
    if text.strip("\u00ad"):
        left, bottom, right, top = box
        yield text, left, bottom, right, top


if __name__ == "__main__":
    main()
