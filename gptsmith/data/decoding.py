"""Bytes of a source file to text, in blocks or in lines, each with the bytes that it came from."""

from __future__ import annotations

import codecs
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from gptsmith.base.errors import DataError
from gptsmith.base.notices import Notice
from gptsmith.data.encodings import text_encoding
from gptsmith.data.readers import Chunk, ReadSettings, SourceFile
from gptsmith.data.signatures import kind_of_binary, looks_like_utf16

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

# Bytes of ASCII stand for other characters after an escape sequence, so that their files look like UTF-8.
SHIFTED = ("hz", "iso2022")

# Shorter texts in UTF-16 may be UTF-8 too, by chance.
ENOUGH_BYTES = 64

COUNTED_REPLACE = "gptsmith-counted-replace"


class Block(NamedTuple):
    """Some text of a file, the bytes of the file that it stands in, and their encoding."""

    text: str
    start: int
    end: int
    encoding: str


def read_text_blocks(
    file: SourceFile,
    settings: ReadSettings,
    *,
    max_line: int | None = MAX_LINE_CHARACTERS,
    declared: str | None = None,
) -> Iterator[tuple[str, int, int]]:
    """The text of a file in blocks of about 4 MB, as (text, start byte, end byte). A byte-order mark is skipped.

    The encoding is that of the mark, else the declared one, else UTF-8, else the one of the settings: the first in
    which the whole file is text. `max_line` is the longest line allowed, in characters; None allows any.

    Raises:
        DataError: the file is binary, in another encoding, or has an enormous line; the message names the place.
    """
    for block in read_blocks(file, settings, max_line, declared):
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


def read_blocks(
    file: SourceFile,
    settings: ReadSettings,
    max_line: int | None = MAX_LINE_CHARACTERS,
    declared: str | None = None,
) -> Iterator[Block]:
    """As `read_text_blocks`, with the encoding of each block."""
    line_start, length, line_number = 0, 0, 1
    for block in _blocks(file, settings, declared):
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


def _blocks(file: SourceFile, settings: ReadSettings, declared: str | None) -> Iterator[Block]:
    with file.open() as stream:
        encoding, position = _detected(file, stream.read(PROBE_BYTES), settings, declared)
    num_replaced = 0
    with file.open() as stream:
        stream.read(position)
        decoder = codecs.getincrementaldecoder(encoding)(
            COUNTED_REPLACE if settings.encoding_errors == "replace" else "strict"
        )
        data = None
        while data != b"":
            data = stream.read(BLOCK_BYTES)
            pending = len(decoder.getstate()[0])
            before = _replaced.count
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                offset = position + error.start
                raise DataError(
                    Notice(
                        f"{file.path}: byte {offset} is not {_readable(encoding)} (0x{error.object[error.start]:02x}); "
                        "name the file's encoding, for example --encoding cp1252, or read such bytes as U+FFFD with "
                        "--encoding-errors replace",
                        "encoding",
                        file=str(file.path),
                        place=offset,
                        encoding=_readable(encoding),
                    )
                ) from None
            num_replaced += _replaced.count - before
            end = position + pending + len(data) - len(decoder.getstate()[0])
            if text:
                yield Block(text, position, end, encoding)
            position = end
    if num_replaced:
        places = "place that is" if num_replaced == 1 else "places that are"
        file.remarks.append(f"{num_replaced:,} {places} not {_readable(encoding)}: read as U+FFFD")


class _Replaced(threading.local):
    """How often this thread has read bytes that are no text as U+FFFD."""

    count = 0

    def replace(self, error: UnicodeError) -> tuple[str | bytes, int]:
        self.count += 1
        return codecs.replace_errors(error)


_replaced = _Replaced()
codecs.register_error(COUNTED_REPLACE, _replaced.replace)


def _detected(file: SourceFile, head: bytes, settings: ReadSettings, declared: str | None) -> tuple[str, int]:
    """The encoding of a file that begins with `head`, and the length of its byte-order mark."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding, len(mark)
    named = text_encoding(settings.encoding) if settings.encoding else None
    encodings = list(dict.fromkeys(encoding for encoding in (declared, "utf-8", named) if encoding))
    if b"\0" in head:
        # UTF-8 allows a NUL; text has none.
        encodings = [encoding for encoding in encodings if encoding.startswith(("utf-16", "utf-32"))]
        if not encodings:
            raise DataError(f"{file.path}: {_why_binary(head)}")
    elif named is not None and named.startswith(
        SHIFTED if len(head) >= ENOUGH_BYTES else (*SHIFTED, "utf-16", "utf-32")
    ):
        encodings = list(dict.fromkeys([named, *encodings]))
    if len(encodings) > 1:
        encodings = [encoding for encoding in encodings if _is_all(file, encoding)] or encodings[-1:]
    return WITHOUT_MARK.get(encodings[0], encodings[0]), 0


def _is_all(file: SourceFile, encoding: str) -> bool:
    """Whether the whole file is text in an encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with file.open() as stream:
        try:
            while data := stream.read(BLOCK_BYTES):
                decoder.decode(data)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _why_binary(head: bytes) -> str:
    if words := kind_of_binary(head):
        return f"{words} (it has a NUL at byte {head.index(0)}, so it is not read as text)"
    if encoding := looks_like_utf16(head):
        return f"text in UTF-16 without a mark, as it seems: name it with --encoding {encoding}"
    return f"a binary file (a NUL at byte {head.index(0)}); allowed is text: leave it out"


def _readable(encoding: str) -> str:
    return encoding.upper() if encoding.startswith("utf") else encoding
