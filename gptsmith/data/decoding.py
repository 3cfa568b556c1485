"""Bytes of a source file to text, in blocks or in lines, each with the bytes that it came from."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from gptsmith.base.errors import DataError
from gptsmith.data.readers import Chunk, ReadSettings, SourceFile

BLOCK_BYTES = 4_000_000
PROBE_BYTES = 8192
MAX_LINE_CHARACTERS = 16_000_000

# UTF-32 comes first, because its little-endian mark begins with that of UTF-16.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# These codecs look for a mark themselves; it is already skipped when they decode.
WITHOUT_MARK = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}


class Block(NamedTuple):
    """Some text of a file, the bytes of the file that it stands in, and their encoding."""

    text: str
    start: int
    end: int
    encoding: str


def read_text_blocks(
    file: SourceFile, settings: ReadSettings, *, max_line: int | None = MAX_LINE_CHARACTERS
) -> Iterator[tuple[str, int, int]]:
    """The text of a file in blocks of about 4 MB, as (text, start byte, end byte). A byte-order mark is skipped.

    Line endings stay as they are. `max_line` is the longest line allowed, in characters; None allows any.

    Raises:
        DataError: the file is binary, in another encoding, or has an enormous line; the message names the place.
    """
    for block in read_blocks(file, settings, max_line):
        yield block.text, block.start, block.end


def read_lines(file: SourceFile, settings: ReadSettings) -> Iterator[tuple[str, int, int]]:
    """The lines of a file without their endings (\\n or \\r\\n), as (line, start byte, end byte).

    Raises:
        DataError: as `read_text_blocks` does.
    """
    carried, position = "", 0
    for block in read_blocks(file, settings):
        if not carried:
            position = block.start
        *lines, carried = (carried + block.text).split("\n")
        for line in lines:
            end = position + len((line + "\n").encode(block.encoding, "replace"))
            yield line.removesuffix("\r"), position, end
            position = end
        last_end = block.end
    if carried:
        yield carried.removesuffix("\r"), position, last_end


def as_one_document(blocks: Iterable[tuple[str, int, int]]) -> Iterator[Chunk]:
    """The blocks as the chunks of one document; none if there is no block."""
    previous: Chunk | None = None
    for text, start, end in blocks:
        if previous:
            yield replace(previous, last=False)
        previous = Chunk(text, start, end)
    if previous:
        yield previous


def text_encoding(name: str) -> str:
    """The codec's own name for an encoding of text.

    Raises:
        DataError: there is no such encoding.
    """
    try:
        "a".encode(name)
    except LookupError:
        raise DataError(
            f"--encoding {name}: no such encoding; allowed are Python's, such as utf-8, cp1252, latin-1, "
            "utf-16, shift_jis, gb18030"
        ) from None
    return codecs.lookup(name).name


def read_blocks(
    file: SourceFile, settings: ReadSettings, max_line: int | None = MAX_LINE_CHARACTERS
) -> Iterator[Block]:
    """As `read_text_blocks`, with the encoding of each block."""
    line_start, length, line_number = 0, 0, 1
    for block in _blocks(file, settings):
        if max_line is not None:
            first = block.text.find("\n")
            if length + (len(block.text) if first < 0 else first) > max_line:
                raise DataError(
                    f"{file.path}: line {line_number} (from byte {line_start}) is longer than {max_line:,} "
                    "characters; allowed are shorter lines: break it up, or leave the file out"
                )
            if first < 0:
                length += len(block.text)
            else:
                length = len(block.text) - 1 - block.text.rfind("\n")
                line_number += block.text.count("\n")
                tail = block.text[len(block.text) - length :]
                line_start = block.end - len(tail.encode(block.encoding, "replace"))
        yield block


def _blocks(file: SourceFile, settings: ReadSettings) -> Iterator[Block]:
    with file.open() as stream:
        data = stream.read(BLOCK_BYTES)
        encoding, position = _detected(file, data[:PROBE_BYTES], settings)
        data = data[position:]
        decoder = codecs.getincrementaldecoder(encoding)()
        while True:
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                offset = position + error.start
                raise DataError(
                    f"{file.path}: byte {offset} is not {_readable(encoding)} (0x{error.object[error.start]:02x}); "
                    "name the file's encoding, for example --encoding cp1252, or convert the file to UTF-8"
                ) from None
            end = position + pending + len(data) - len(decoder.getstate()[0])
            if text:
                yield Block(text, position, end, encoding)
            position = end
            if not data:
                return
            data = stream.read(BLOCK_BYTES)


def _detected(file: SourceFile, head: bytes, settings: ReadSettings) -> tuple[str, int]:
    """The encoding of a file that begins with `head`, and the length of its byte-order mark."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding, len(mark)
    encoding = text_encoding(settings.encoding or "utf-8")
    if b"\0" in head and not encoding.startswith(("utf-16", "utf-32")):
        raise DataError(
            f"{file.path}: a binary file (a NUL at byte {head.index(0)}); allowed is text: leave it out, "
            "or name its encoding, for example --encoding utf-16"
        )
    return WITHOUT_MARK.get(encoding, encoding), 0


def _readable(encoding: str) -> str:
    return encoding.upper() if encoding.startswith("utf") else encoding
