"""Excel workbooks: each sheet is a document of rows, a line each, with tabs between the cells.

As records, the rows of the first sheet are named by its first row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from gptsmith.data.flow import as_document
from gptsmith.data.packages import Event, Package, opened
from gptsmith.data.readers import Chunk, Reader, ReadSettings, Record, SourceFile

# The built-in formats that show a number as a date or a time.
DATE_FORMATS = frozenset({*range(14, 23), *range(45, 48)})
FORMAT_WORDS = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.')
FIRST_DAY = datetime(1899, 12, 30)

# The widest sheet that Excel allows.
MAX_COLUMNS = 16_384


class XlsxReader(Reader):
    kind: Literal["xlsx"] = "xlsx"
    extensions: ClassVar[tuple[str, ...]] = (".xlsx", ".xlsm")
    is_packed: ClassVar[bool] = True
    holds_records: ClassVar[bool] = True

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".xlsx" if "xl/workbook.xml" in members else None

    def has_rows(self, file: SourceFile) -> bool:
        return True

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        with opened(file, "a spreadsheet program") as package:
            strings, formats = shared_strings(package), date_styles(package)
            for sheet in sheets(package):
                lines = (line_of(row) + "\n" for row in rows(package.events(sheet), strings, formats) if any(row))
                yield from as_document(lines, package.num_bytes)

    def records(self, file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
        with opened(file, "a spreadsheet program") as package:
            strings, formats = shared_strings(package), date_styles(package)
            header: list[str] = []
            for sheet in sheets(package)[:1]:
                for number, row in enumerate(rows(package.events(sheet), strings, formats), 1):
                    if not header:
                        header = [name.strip() for name in row] if any(row) else []
                    elif any(row):
                        line = line_of(row)
                        row += [""] * (len(header) - len(row))
                        fields = {name: cell for name, cell in zip(header, row, strict=False) if name}
                        yield Record(fields, f"row {number}", 0, package.num_bytes, row=line)


def line_of(row: list[str]) -> str:
    """A row in the document that its sheet is."""
    return "\t".join(row).rstrip()


def sheets(package: Package) -> list[str]:
    """The parts of the sheets, in the order of the workbook."""
    main = package.main_part("workbook.xml")
    relations = package.relations(main)
    ids = [event.attributes.get("id", "") for event in starts(package.events(main), "sheet")]
    return [relations[one] for one in ids if one in relations]


def starts(events: Iterator[Event], name: str) -> Iterator[Event]:
    """The starts of the elements of a name."""
    return (event for event in events if event.type == "start" and event.name == name)


def shared_strings(package: Package) -> list[str]:
    """The texts that cells refer to by their number."""
    main = package.main_part("workbook.xml")
    strings: list[str] = []
    for part in package.relations(main).values():
        if part.endswith("sharedStrings.xml"):
            strings += texts_of(package.events(part), "si")
    return strings


def texts_of(events: Iterator[Event], item: str) -> Iterator[str]:
    """The text of each element of a name, without the phonetic reading of Japanese."""
    pieces: list[str] = []
    in_text = phonetic = False
    for what, name, _ in events:
        if what == "text":
            if in_text and not phonetic:
                pieces.append(name)
        elif name == "t":
            in_text = what == "start"
        elif name == "rPh":
            phonetic = what == "start"
        elif name == item and what == "end":
            yield "".join(pieces)
            pieces = []


def date_styles(package: Package) -> frozenset[str]:
    """The styles of cells that show a number as a date or a time."""
    main = package.main_part("workbook.xml")
    dates: set[str] = {str(number) for number in DATE_FORMATS}
    formats: list[str] = []
    for part in package.relations(main).values():
        if not part.endswith("styles.xml"):
            continue
        in_cells = False
        for what, name, attributes in package.events(part):
            if name == "cellXfs":
                in_cells = what == "start"
            elif what == "start" and name == "numFmt":
                code = FORMAT_WORDS.sub("", attributes.get("formatCode", "")).lower()
                if any(letter in code for letter in "ydhs"):
                    dates.add(attributes.get("numFmtId", ""))
            elif what == "start" and name == "xf" and in_cells:
                formats.append(attributes.get("numFmtId", ""))
    return frozenset(str(index) for index, code in enumerate(formats) if code in dates)


def rows(events: Iterator[Event], strings: list[str], date_styles: frozenset[str]) -> Iterator[list[str]]:
    """The cells of each row of a sheet, as text; a cell that is left out is empty."""
    row: list[str] = []
    column, type_of_cell, style, pieces = 0, "", "", list[str]()
    reading = phonetic = False
    for what, name, attributes in events:
        if what == "text":
            if reading and not phonetic:
                pieces.append(name)
        elif name in ("v", "t"):
            reading = what == "start"
        elif name == "rPh":
            phonetic = what == "start"
        elif name == "c" and what == "start":
            column = column_of(attributes.get("r", ""), len(row))
            type_of_cell, style, pieces = attributes.get("t", "n"), attributes.get("s", ""), []
        elif name == "c":
            row += [""] * (column - len(row))
            row.append(cell_text("".join(pieces), type_of_cell, strings, style in date_styles))
        elif name == "row" and what == "end":
            yield row
            row = []


def column_of(reference: str, default: int) -> int:
    """The column of a cell, from 0: 27 for AB12."""
    letters = reference.rstrip("0123456789")
    if not letters or len(letters) > 3 or not letters.isascii() or not letters.isalpha():
        return default
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return min(number, MAX_COLUMNS) - 1


def cell_text(value: str, type_of_cell: str, strings: list[str], is_date: bool) -> str:
    """What a cell shows, without line ends and tabs."""
    if type_of_cell == "s" and value.isdecimal() and len(value) < 10:
        value = strings[int(value)] if int(value) < len(strings) else ""
    elif type_of_cell == "b":
        value = {"1": "TRUE", "0": "FALSE"}.get(value, value)
    elif type_of_cell == "n" and is_date:
        value = date_text(value)
    return " ".join(value.split())


def date_text(value: str) -> str:
    """The date that a number of days since 1900 stands for, in ISO's form."""
    try:
        moment = FIRST_DAY + timedelta(seconds=round(float(value) * 86_400))
    except (OverflowError, ValueError):
        return value
    if moment.date() == FIRST_DAY.date():
        return moment.time().isoformat()
    return moment.date().isoformat() if moment.time().isoformat() == "00:00:00" else moment.isoformat(" ")
