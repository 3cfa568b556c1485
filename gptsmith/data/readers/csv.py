"""Tables as text with a header row. Each row is a document."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain
from typing import ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.data.decoding import MAX_LINE_CHARACTERS, read_lines
from gptsmith.data.readers import Chunk, Reader, ReadSettings, Record, SourceFile
from gptsmith.data.records import documents

# In order of preference: where the decimal sign is a comma, spreadsheets write semicolons.
DELIMITERS = ",;\t|"
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

    A row that has more cells than the header has a problem.

    Raises:
        DataError: a row cannot be read; the message has its line number.
    """
    # The limit belongs to the process, and the library's own is too small for documents.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_CHARACTERS))
    start = end = 0

    def lines() -> Iterator[str]:
        nonlocal start, end
        for line, line_start, line_end in read_lines(file, settings):
            start, end = (start if end else line_start), line_end
            yield line + "\n"

    text = lines()
    first, line_number = next(text, ""), 1
    # Spreadsheets name the delimiter in a line of its own before the header.
    declared = SEPARATOR_LINE.fullmatch(first)
    if declared:
        first, line_number = next(text, ""), 2
    delimiter = declared[1] if declared else "\t" if file.extension == ".tsv" else max(DELIMITERS, key=first.count)
    lines_before = line_number - 1

    # Where the header has spaces after its delimiters, the rows have too, and quotes may follow them.
    padded = f"{delimiter} " in first
    rows = csv.reader(chain([first], text), delimiter=delimiter, strict=True, skipinitialspace=padded)
    header: list[str] = []
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise DataError(
                f"{file.path}, line {line_number}: not a row ({error}); put cells that hold quotes "
                "or line ends in quotes, and write a quote in them twice"
            ) from None
        if row is None:
            return
        place = f"line {line_number}"
        if not header:
            header = [name.strip() for name in row]
        elif len(row) > len(header):
            problem = f"{len(row)} cells under a header of {len(header)}; put cells that hold {delimiter!r} in quotes"
            yield Record({}, place, start, end, problem)
        elif row:
            yield Record(dict(zip(header, row, strict=False)), place, start, end)
        start, line_number = end, lines_before + rows.line_num + 1
