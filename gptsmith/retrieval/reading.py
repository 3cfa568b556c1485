"""The passages of a file, with their places in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from gptsmith.base.errors import UserError
from gptsmith.data.discover import Candidate
from gptsmith.data.passages import Found, SearchedFile
from gptsmith.data.readers import ReadSettings
from gptsmith.data.reading import read_documents
from gptsmith.retrieval.mending import Mending
from gptsmith.retrieval.passages import Passage, Splitter

MAX_SOUGHT = 200
"""The characters of a passage that are looked for in its file, at most: its first line tells where it begins."""


@dataclass(frozen=True)
class PlacedPassage:
    """A passage of a file.

    Attributes:
        document: which document of the file it is of, from 0.
        text: without white space around it.
        line: the line of the file that it begins in, from 1; None where the file has none, as in packed formats.
        byte: its first byte in the file; None like the line.
    """

    document: int
    text: str
    headings: tuple[str, ...]
    line: int | None = None
    byte: int | None = None


def read_passages(
    candidate: Candidate, settings: ReadSettings | None = None, mending: Mending | None = None
) -> Iterator[PlacedPassage]:
    """The passages of all documents of a file, in order.

    Args:
        mending: what is read in the place of documents.

    Raises:
        OSError, UserError: it cannot be read.
    """
    with ExitStack() as stack:
        file: SearchedFile | None = None
        if not candidate.reader.is_packed:
            with suppress(OSError, UserError):
                file = stack.enter_context(SearchedFile(candidate.file.path))
        document, splitter, places = 0, Splitter(), None
        chunks = read_documents(candidate.reader, candidate.file, settings or ReadSettings())
        for chunk in (mending or Mending()).of_chunks(chunks):
            places = places or _Places(file, chunk.start)
            for passage in splitter.feed(chunk.text, last=chunk.last):
                found = places.of(passage, chunk.end)
                if text := passage.text.strip():
                    place = (None, None) if found is None else (found.line, found.start)
                    yield PlacedPassage(document, text, passage.headings, *place)
            if chunk.last:
                document, splitter, places = document + 1, Splitter(), None


class _Places:
    """Finds the passages of one document in its file, each from where the one before it was found."""

    def __init__(self, file: SearchedFile | None, start: int) -> None:
        self._file, self._start, self._expected = file, start, start

    def of(self, passage: Passage, end: int) -> Found | None:
        """Where a passage stands in a document that has been read up to the byte `end`."""
        if self._file is None:
            return None
        text = passage.text.lstrip()
        self._expected += len(passage.text[: len(passage.text) - len(text)].encode("utf-8", "replace"))
        found = self._file.find(text.partition("\n")[0][:MAX_SOUGHT].rstrip(), self._start, end, self._expected)
        self._expected = (self._expected if found is None else found.start) + len(text.encode("utf-8", "replace"))
        return found
