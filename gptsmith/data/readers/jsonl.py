"""Records as JSON: one a line, several lines each, or a whole file that is a list or a table of records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.base.files import readable_bytes
from gptsmith.base.json_reader import MAX_BYTES, parse_json, parse_json_sequence
from gptsmith.data.chats import export_records
from gptsmith.data.decoding import read_lines, read_text_blocks
from gptsmith.data.exports import export_of
from gptsmith.data.json_records import as_fields, items_of
from gptsmith.data.readers import Chunk, Reader, ReadSettings, Record, SourceFile
from gptsmith.data.records import documents

NUM_LINES_TRIED = 20
"""The first lines say whether there is a record on each."""
ONE_A_LINE = "write one record per line"


JSON = re.compile(rb'\s*(?:\[\s*)?\{\s*"')


class JsonlReader(Reader):
    kind: Literal["jsonl"] = "jsonl"
    extensions: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".json")
    keeps_splits: ClassVar[bool] = True
    holds_records: ClassVar[bool] = True

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".json" if JSON.match(head) else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        yield from documents(file.path, self.records(file, settings), settings.text_field)

    def records(self, file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
        return (line_records if _is_lines(file, settings) else whole_records)(file, settings)


def _is_lines(file: SourceFile, settings: ReadSettings) -> bool:
    """Whether the file has a record on each line: the first one is, or it is damaged and one of the next is."""
    try:
        lines = [line.strip() for line, _, _ in islice(read_lines(file, settings), NUM_LINES_TRIED) if line.strip()]
    except DataError:  # a line that is too long, or bytes that are no text, which the reading itself will say
        return file.extension != ".json"
    if not lines:
        return False
    if _is_record(lines[0]):
        return file.extension != ".json" or len(lines) > 1
    is_open = lines[0].startswith("[") or lines[0].endswith(("{", "[", ","))
    return not is_open and any(map(_is_record, lines[1:]))


def _is_record(line: str) -> bool:
    try:
        as_fields(_parsed(line))
    except ValueError:
        return False
    return True


def _parsed(line: str) -> Any:
    """The value on a line, which a comma may end, as in a list."""
    return parse_json(line.strip().removesuffix(","), nan_is_null=True)


def line_records(file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
    """The records of a file with one on each line; blank lines are skipped. A line that is none has a problem."""
    for number, (line, start, end) in enumerate(read_lines(file, settings), 1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            yield Record(as_fields(_parsed(line)), place, start, end)
        except DataError as error:
            yield Record({}, place, start, end, str(error))
        except ValueError as error:
            yield Record({}, place, start, end, f"not JSON ({error}); {ONE_A_LINE}")


def whole_records(file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
    """The records of a file that is a list or a table of records, or one record after another. Each is read from all
    the bytes of the file.

    Raises:
        DataError: the file is too large to be read at once, is not JSON or holds something else than records.
    """
    blocks, start, end = [], None, 0
    for block, block_start, end in read_text_blocks(file, settings, max_line=None):
        start = block_start if start is None else start
        blocks.append(block)
        if end > MAX_BYTES:
            raise DataError(
                f"{file.path} has over {readable_bytes(MAX_BYTES)}, the most for a .json file: "
                "write it as .jsonl, one record per line"
            )
    text = "".join(blocks)
    try:
        values = [value for value, _ in parse_json_sequence(text, nan_is_null=True)]
    except ValueError as error:
        raise DataError(f"{file.path} is not JSON: {error}") from None
    export = export_of(values[0]) if len(values) == 1 else None
    if export is not None:
        yield from export_records(file.path, export, values[0], start or 0, end)
        return
    items = items_of(values[0]) if len(values) == 1 else values
    for number, item in enumerate(items, 1):
        place = f"record {number}"
        try:
            yield Record(as_fields(item), place, start or 0, end)
        except DataError as error:
            yield Record({}, place, start or 0, end, str(error))
