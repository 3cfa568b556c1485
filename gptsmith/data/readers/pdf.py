"""PDF files: the text of the pages in order. Each file is a document, read from all of its bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError, MissingExtraError
from gptsmith.data.decoding import as_one_document
from gptsmith.data.files import seekable, size_of
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile

# How the library writes the hyphen of a word that was broken at the end of a line.
LINE_BREAK_HYPHEN = re.compile("[\x02\ufffe]\n?")


class PdfReader(Reader):
    kind: Literal["pdf"] = "pdf"
    extensions: ClassVar[tuple[str, ...]] = (".pdf",)
    libraries: ClassVar[Mapping[str, str]] = {"pypdfium2": "pypdfium2"}

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
                texts = page_texts(file.path, pdf)
                yield from as_one_document((text, 0, size) for text in texts)


def page_texts(path: Path, pdf: Any) -> Iterator[str]:
    """The text of each page that has some, with a line end after it.

    Raises:
        DataError: a page is damaged, or no page has text.
    """
    from pypdfium2 import PdfiumError

    found = False
    for index in range(len(pdf)):
        try:
            with closing(pdf[index]) as page, closing(page.get_textpage()) as text_page:
                text = text_page.get_text_range()
        except PdfiumError as error:
            raise DataError(f"{path}, page {index + 1}: damaged ({error}); save or download it again") from None
        text = LINE_BREAK_HYPHEN.sub("", text.replace("\r\n", "\n")).replace("\0", "").strip()
        if text:
            found = True
            yield text + "\n"
    if not found:
        raise DataError(
            f"{path} has no text, so its pages are probably scanned images: recognise the text first, "
            "for example with ocrmypdf, or leave the file out"
        )


def refusal(error: Exception) -> str:
    """Why the library does not open a file, and what to do."""
    if "password" in str(error).lower():
        return "is locked with a password: save it without one"
    return "is damaged or not a PDF file: save or download it again"
