"""Records as JSON: one a line, or a whole file that is a list of records. Each record is a document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.base.files import readable_bytes
from gptsmith.data.decoding import read_lines, read_text_blocks
from gptsmith.data.readers import Chunk, Reader, ReadSettings, Record, SourceFile
from gptsmith.data.records import documents

# A JSON text is parsed as a whole, in several times its size of memory.
MAX_WHOLE_BYTES = 256_000_000


JSON = re.compile(rb'\s*(?:\[\s*)?\{\s*"')


class JsonlReader(Reader):
    kind: Literal["jsonl"] = "jsonl"
    extensions: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".json")
    holds_records: ClassVar[bool] = True

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".json" if JSON.match(head) else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        yield from documents(file.path, self.records(file, settings), settings.text_field)

    def records(self, file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
        return (whole_records if file.extension == ".json" else line_records)(file, settings)


def line_records(file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
    """The records of a file with one on each line; blank lines are skipped.

    Raises:
        DataError: a line is not a record; the message has its number.
    """
    for number, (line, start, end) in enumerate(read_lines(file, settings), 1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file.path}, {place}: not JSON ({reason(error)}); write one record per line") from None
        yield Record(as_fields(file, place, value), place, start, end)


def whole_records(file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
    """The records of a file that is a list of records, or one. Each is read from all the bytes of the file.

    Raises:
        DataError: the file is too large to be read at once, is not JSON or holds something else than records.
    """
    blocks, start, end = [], None, 0
    for block, block_start, end in read_text_blocks(file, settings, max_line=None):
        start = block_start if start is None else start
        blocks.append(block)
        if end > MAX_WHOLE_BYTES:
            raise DataError(
                f"{file.path} has over {readable_bytes(MAX_WHOLE_BYTES)}, the most for a .json file: "
                "write it as .jsonl, one record per line"
            )
    text = "".join(blocks)
    try:
        value = json.loads(text) if text.strip() else []
    except (ValueError, RecursionError) as error:
        # Many a file of lines is called .json.
        if reason(error).startswith("Extra data"):
            yield from line_records(file, settings)
            return
        raise DataError(f"{file.path} is not JSON: {reason(error)}") from None
    for number, item in enumerate(value if isinstance(value, list) else [value], 1):
        place = f"record {number}"
        yield Record(as_fields(file, place, item), place, start or 0, end)


def as_fields(file: SourceFile, place: str, value: Any) -> dict[str, Any]:
    """The fields of a record; a bare string is a record of its own text.

    Raises:
        DataError: it is neither.
    """
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict):
        raise DataError(f'{file.path}, {place}: not a record; write an object with a text, such as {{"text": "..."}}')
    return value


def reason(error: Exception) -> str:
    """Why JSON was refused, for a person."""
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
