"""PDF files: the paragraphs of the pages in order. Each file is a document, read from all of its bytes.

Lines of print are joined to paragraphs, columns follow each other, and running heads and page numbers are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError, MissingExtraError
from gptsmith.data.files import seekable, size_of
from gptsmith.data.flow import as_document
from gptsmith.data.page_layout import Line, Page, paragraphs
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile

# How the library writes the hyphen of a word that was broken at the end of a line.
BROKEN_WORD = "\x02\ufffe\u00ad"
LINE_ENDS = "\r\n" + BROKEN_WORD

# White space in a line that is wider than this part of its height is between columns or cells.
GAP = 1.7

# White space that is wider than this is a space, also where the file has none.
SPACE = 0.15


class PdfReader(Reader):
    kind: Literal["pdf"] = "pdf"
    extensions: ClassVar[tuple[str, ...]] = (".pdf",)
    libraries: ClassVar[Mapping[str, str]] = {"pypdfium2": "pypdfium2"}

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".pdf" if head.startswith(b"%PDF-") else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        try:
            from pypdfium2 import PdfDocument, PdfiumError
        except ImportError:
            raise MissingExtraError(f"{file.path}: reading .pdf files", "pypdfium2") from None

        with seekable(file.open()) as stream:
            size = size_of(stream)
            try:
                pdf = PdfDocument(stream)
            except PdfiumError as error:
                raise DataError(f"{file.path} {refusal(error)}") from None
            with closing(pdf):
                yield from as_document((text + "\n\n" for text in paragraphs(pages(file, pdf))), size)


def pages(file: SourceFile, pdf: Any) -> Iterator[Page]:
    """The pages that have text; how many have none is remarked.

    Raises:
        DataError: a page is damaged, or no page has text.
    """
    from pypdfium2 import PdfiumError

    num_pages, without_text = len(pdf), []
    for index in range(num_pages):
        try:
            with closing(pdf[index]) as page, closing(page.get_textpage()) as text_page:
                lines = list(lines_of(text_page))
                height = page.get_height()
        except PdfiumError as error:
            raise DataError(f"{file.path}, page {index + 1}: damaged ({error}); save or download it again") from None
        if lines:
            yield Page(lines, height)
        else:
            without_text.append(index + 1)
    if len(without_text) == num_pages:
        raise DataError(
            f"{file.path} has no text, so its pages are probably scanned images: recognise the text first, "
            "for example with ocrmypdf, or leave the file out"
        )
    if without_text:
        file.remarks.append(
            f"{len(without_text):,} of {num_pages:,} pages have no text, probably scanned images (the first is page "
            f"{without_text[0]}): recognise their text with ocrmypdf"
        )


def lines_of(text_page: Any) -> Iterator[Line]:
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


def _line(pieces: list[str], box: list[float]) -> Iterator[Line]:
    text = "".join(pieces).strip()
    if text.strip("\u00ad"):
        yield Line(text, *box)


def refusal(error: Exception) -> str:
    """Why the library does not open a file, and what to do."""
    if "password" in str(error).lower():
        return "is locked with a password: save it without one"
    return "is damaged or not a PDF file: save or download it again"
