"""Findings in the documents of a corpus, and where they stand in a person's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gptsmith.data.care.finders import FinderSettings
from gptsmith.data.care.findings import Finding, findings
from gptsmith.data.corpus import Corpus, MeterFactory
from gptsmith.data.passages import Found, SearchedFiles

BLOCK_BYTES, AROUND_BYTES = 1 << 22, 1 << 16
"""A document is searched in such blocks, with so much of what stands around each."""


def findings_in(corpus: Corpus, begin: int, end: int, finders: Sequence[FinderSettings]) -> Iterator[Finding]:
    """The findings in some bytes of a document, with their bytes in the corpus. Long documents are read in blocks."""
    for start in range(begin, end, BLOCK_BYTES):
        stop = min(start + BLOCK_BYTES, end)
        first = max(begin, start - AROUND_BYTES)
        block = corpus.read(first, min(end, stop + AROUND_BYTES))
        cut = 0 if first == begin else next(n for n, byte in enumerate(block) if byte & 0xC0 != 0x80)
        text, at, place = block[cut:].decode("utf-8", "ignore"), 0, first + cut
        for found in findings(text, finders):
            place += len(text[at : found.start].encode())
            at = found.start
            if start <= place < stop:
                yield replace(found, start=place, stop=place + len(found.text.encode()))


@dataclass(frozen=True)
class PlacedFinding:
    """A finding in the files of a person.

    Attributes:
        document: the number of its document in the corpus.
        file: the file that the document was read from.
        place: where it stands in that file; None in formats whose text is packed or marked up.
        row: the row that it stands in, in a document that is a sheet; None in others, and across several rows.
    """

    finding: Finding
    document: int
    file: Path
    place: Found | None
    row: str | None = None


def findings_of(corpus: Corpus, finders: Sequence[FinderSettings], meter: MeterFactory) -> Iterator[PlacedFinding]:
    """The findings in all documents of a corpus, and where they stand in its files."""
    (starts, stops), file_of = corpus.bounds(), corpus.table["file"]
    with SearchedFiles() as files, meter("searching", len(corpus)) as bar:
        for document in range(len(corpus)):
            first, stop = int(starts[document]), int(stops[document])
            has_rows = corpus.files[int(file_of[document])].has_rows
            for found in findings_in(corpus, first, stop, finders):
                path, begin, end = corpus.source(document)
                expected = begin + found.start - first
                place = files.find(path, found.text, begin, end, expected)
                row = _row_at(corpus, first, stop, found) if has_rows else None
                yield PlacedFinding(found, document, path, place, row)
            bar.update(document + 1)


def _row_at(corpus: Corpus, begin: int, end: int, found: Finding) -> str | None:
    """The row of a sheet, which has these bytes of the corpus, that a finding stands in; None if in several."""
    first, stop = max(begin, found.start - AROUND_BYTES), min(end, found.stop + AROUND_BYTES)
    before, behind = corpus.read(first, found.stop).rpartition(b"\n"), corpus.read(found.stop, stop).partition(b"\n")
    is_whole = (before[1] or first == begin) and (behind[1] or stop == end)
    is_one = len(before[2]) >= found.stop - found.start
    return (before[2] + behind[0]).decode("utf-8") if is_whole and is_one else None
