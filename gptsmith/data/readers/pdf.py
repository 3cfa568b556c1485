"""PDF files: the paragraphs of the pages in order. Each file is a document, read from all of its bytes.

Lines of print are joined to paragraphs, columns follow each other, and running heads and page numbers are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, ClassVar, Literal

from gptsmith.base.errors import DataError, MissingExtraError
from gptsmith.base.files import readable_bytes
from gptsmith.data import pdf_pages
from gptsmith.data.files import seekable, size_of
from gptsmith.data.flow import as_document
from gptsmith.data.page_layout import Line, Page, paragraphs
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile


class PdfReader(Reader):
    kind: Literal["pdf"] = "pdf"
    extensions: ClassVar[tuple[str, ...]] = (".pdf",)
    is_packed: ClassVar[bool] = True
    libraries: ClassVar[Mapping[str, str]] = {"pypdfium2": "pypdfium2"}

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".pdf" if head.startswith(b"%PDF-") else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        try:
            import pypdfium2  # noqa: F401
        except ImportError:
            raise MissingExtraError(f"{file.path}: reading .pdf files", "pypdfium2") from None

        with seekable(file.open()) as stream:
            size = size_of(stream)
            if isinstance(stream, SpooledTemporaryFile):
                stream.rollover()
            yield from as_document((text + "\n\n" for text in paragraphs(pages(file, stream))), size)


def pages(file: SourceFile, stream: BinaryIO) -> Iterator[Page]:
    """The pages that have text; how many have none is remarked.

    Raises:
        DataError: the file or a page is damaged or takes too much memory, or no page has text.
    """
    num_pages, number, ended = 0, 0, False
    without_text = []
    with closing(pdf_pages.read_pages(stream)) as messages:
        for said in messages:
            ended = "ended" in said
            if "problem" in said and not num_pages:
                raise DataError(f"{file.path} {refusal(said['problem'])}")
            if "problem" in said:
                raise DataError(
                    f"{file.path}, page {number + 1}: damaged ({said['problem']}); save or download it again"
                )
            num_pages = said.get("num_pages", num_pages)
            if "lines" in said:
                number += 1
                if said["lines"]:
                    yield Page([Line(*line) for line in said["lines"]], said["height"])
                else:
                    without_text.append(number)
    if not ended:
        raise DataError(
            f"{file.path}, page {number + 1}: takes over {readable_bytes(pdf_pages.MEMORY_BYTES)} of memory, or is "
            "damaged: print it to a new file, or leave it out"
        )
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


def refusal(words: str) -> str:
    """Why the library does not open a file, and what to do."""
    if "password" in words.lower():
        return "is locked with a password: save it without one"
    return "is damaged or not a PDF file: save or download it again"
