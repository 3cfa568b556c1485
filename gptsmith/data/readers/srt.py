"""Subtitles: what is said, a line a caption, without numbers and times. Each file is a document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.decoding import as_one_document, read_lines
from gptsmith.data.readers import Chunk, Reader, ReadSettings, SourceFile

TIMES = re.compile(r"\s*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}\s*-->")
MARKS = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}")
BLOCK_CHARACTERS = 1_000_000


class SrtReader(Reader):
    kind: Literal["srt"] = "srt"
    extensions: ClassVar[tuple[str, ...]] = (".srt", ".vtt")

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        if head.startswith((b"WEBVTT", b"\xef\xbb\xbfWEBVTT")):
            return ".vtt"
        return ".srt" if re.match(rb"(?:\xef\xbb\xbf)?\s*\d+\s*\n\d\d:\d\d:\d\d,\d{3} -->", head) else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        return as_one_document(captions(file, settings))


def captions(file: SourceFile, settings: ReadSettings) -> Iterator[tuple[str, int, int]]:
    """The captions in blocks of lines, as (text, start byte, end byte)."""
    lines: list[str] = []
    length, begin, position = 0, None, 0
    for words, start, end in paragraphs(file, settings):
        begin = start if begin is None else begin
        position = end
        lines.append(words + "\n")
        length += len(words)
        if length > BLOCK_CHARACTERS:
            yield "".join(lines), begin, end
            lines, length, begin = [], 0, None
    if lines and begin is not None:
        yield "".join(lines), begin, position


def paragraphs(file: SourceFile, settings: ReadSettings) -> Iterator[tuple[str, int, int]]:
    """The words of each caption, as (text, start byte, end byte)."""
    said: list[str] = []
    timed = False
    begin = last = 0
    for line, start, last in read_lines(file, settings):
        if TIMES.match(line):
            timed, begin = True, start
        elif not line.strip():
            if said:
                yield " ".join(said), begin, last
            timed, said = False, []
        elif timed and (words := " ".join(MARKS.sub("", line).split())):
            said.append(words)
    if said:
        yield " ".join(said), begin, last
