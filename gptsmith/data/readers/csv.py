"""Tables as text with a header row. Each row is a document."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.data.decoding import MAX_LINE_CHARACTERS, read_lines
from gptsmith.data.readers import Chunk, Reader, ReadSettings, Record, SourceFile
from gptsmith.data.records import documents

# In order of preference: where the decimal sign is a comma, spreadsheets write semicolons.
DELIMITERS = ",;\t|"
MAX_LINES_REREAD = 1_000_000
"""Of one table, so that the time is bounded."""
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


class CsvReader(Reader):
    kind: Literal["csv"] = "csv"
    extensions: ClassVar[tuple[str, ...]] = (".csv", ".tsv")
    keeps_splits: ClassVar[bool] = True
    holds_records: ClassVar[bool] = True

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        yield from documents(file.path, self.records(file, settings), settings.text_field)

    def records(self, file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
        return row_records(file, settings)


def row_records(file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
    """The rows after the header, by the names in the header; blank lines are skipped.

    A row that has more cells than the header, or is none, has a problem; behind the latter the next line begins a row.

    Raises:
        DataError: the header cannot be read.
    """
    # The limit belongs to the process, and the library's own is too small for documents.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_CHARACTERS))
    lines = _Lines(read_lines(file, settings))
    first = lines.peek()
    # Spreadsheets name the delimiter in a line of its own before the header.
    declared = SEPARATOR_LINE.fullmatch(first)
    if declared:
        next(lines)
        lines.end_row()
        first = lines.peek()
    delimiter = declared[1] if declared else "\t" if file.extension == ".tsv" else max(DELIMITERS, key=first.count)

    # Where the header has spaces after its delimiters, the rows have too, and quotes may follow them.
    padded = f"{delimiter} " in first
    rows = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=padded)
    header: list[str] = []
    while True:
        place = f"line {lines.number}"
        try:
            row = next(rows, None)
        except csv.Error as error:
            problem = (
                f"not a row ({error}); put cells that hold quotes or line ends in quotes, and write a quote in them "
                "twice"
            )
            if not header:
                raise DataError(f"{file.path}, {place}: {problem}") from None
            lines.reread()
            yield Record({}, place, *lines.end_row(), problem)
            rows = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=padded)
            continue
        if row is None:
            return
        start, end = lines.end_row()
        if not header:
            header = [name.strip() for name in row]
        elif len(row) > len(header):
            problem = f"{len(row)} cells under a header of {len(header)}; put cells that hold {delimiter!r} in quotes"
            yield Record({}, place, start, end, problem)
        elif row:
            yield Record(dict(zip(header, row, strict=False)), place, start, end)


class _Lines:
    """The lines of a table, with their places.

    Attributes:
        number: that of the first line of the row which is being read, from 1.
    """

    def __init__(self, lines: Iterator[tuple[str, int, int]]) -> None:
        self._lines, self._again = lines, deque[tuple[str, int, int]]()
        self._row: list[tuple[str, int, int]] = []
        self._may_reread = MAX_LINES_REREAD
        self.number = 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._row.append(line)
        return line[0] + "\n"

    def peek(self) -> str:
        """The next line, which stays the next; empty if there is none."""
        if not self._again and (line := next(self._lines, None)) is not None:
            self._again.append(line)
        return self._again[0][0] if self._again else ""

    def end_row(self) -> tuple[int, int]:
        """The start and the end of the row that was read; the next line begins another."""
        start, end = self._row[0][1], self._row[-1][2]
        self.number += len(self._row)
        self._row.clear()
        return start, end

    def reread(self) -> None:
        """Gives the lines after the first of the row once more: a quote that nothing closes would swallow them all."""
        rest = self._row[1:]
        self._may_reread -= len(rest)
        if self._may_reread >= 0:
            self._again.extendleft(reversed(rest))
            del self._row[1:]
