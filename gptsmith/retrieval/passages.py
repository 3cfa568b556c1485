"""A document in passages: by its headings and paragraphs, of some 200 words each, and never through a sentence where
that can be avoided."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gptsmith.text.sentences import SENTENCE_END, SPACELESS

ENOUGH_WORDS, MAX_WORDS = 200, 300
"""A passage ends with the paragraph that brings it to the first, and has no more than the second."""
SOFT_WORDS = 100
"""A line that only looks like a heading ends a passage that has as many."""

HASHES = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t#]*$")
UNDERLINE = re.compile(r" {0,3}(?:={3,}|-{3,}|~{3,})[ \t]*$")
FENCE = re.compile(r" {0,3}(?:```|~~~)")
NO_HEADING_END = ".,;:!?\u2026\u3002\uff0c\uff1a\uff01\uff1f"
LOOKS_LIKE_HEADING = re.compile(rf"[\w\"'(\u201c\u300a].{{0,78}}[^\s{NO_HEADING_END}]$")
MAX_HEADING_WORDS, MAX_HEADING_CHARACTERS = 12, 200
SOFT_LEVEL = 7
"""Below every heading that is marked as one."""

SENTENCES, LINES, WORDS = re.compile(rf"{SENTENCE_END}\s*"), re.compile(r"\n+"), re.compile(rf"\s+|(?<=[{SPACELESS}])")
WORD = re.compile(rf"[^\s{SPACELESS}]+|[{SPACELESS}]{{1,2}}")


@dataclass(frozen=True)
class Passage:
    """A piece of a document.

    Attributes:
        text: it as it stands there. The passages of a document, one after the other, are the document.
        start: its first character in the document.
        headings: those that it stands under, the highest first.
    """

    text: str
    start: int
    headings: tuple[str, ...]


@dataclass(frozen=True)
class _Block:
    """A paragraph or a heading, with the white space behind it."""

    start: int
    stop: int
    level: int = 0
    """Of a heading, from 1; 0 for a paragraph."""
    title: str = ""


class Splitter:
    """Splits one document that comes in pieces."""

    def __init__(self) -> None:
        self._held, self._offset = "", 0
        self._path: list[tuple[int, str]] = []

    def feed(self, text: str, *, last: bool) -> Iterator[Passage]:
        """The passages that are known now: without the `last` piece, those up to its last paragraph."""
        text = self._held + text
        end = len(text) if last else text.rfind("\n\n") + 2
        if end < 2 and not last:
            self._held = text
            return
        self._held = text[end:]
        yield from self._passages(text[:end])
        self._offset += end

    def _passages(self, text: str) -> Iterator[Passage]:
        start = num_words = 0
        headings = self._headings()
        has_text = False
        for block in _blocks(text):
            if block.level and has_text and (block.level < SOFT_LEVEL or num_words >= SOFT_WORDS):
                yield Passage(text[start : block.start], self._offset + start, headings)
                start, num_words, has_text = block.start, 0, False
            if block.level:
                self._path = [one for one in self._path if one[0] < block.level] + [(block.level, block.title)]
            if not has_text:
                headings = self._headings()
            for begin, stop in _split(text, block.start, block.stop):
                more = count_words(text[begin:stop])
                if num_words and num_words + more > MAX_WORDS:
                    yield Passage(text[start:begin], self._offset + start, headings)
                    start, num_words, headings = begin, 0, self._headings()
                num_words += more
                has_text |= not block.level and not text[begin:stop].isspace()
                if has_text and num_words >= ENOUGH_WORDS:
                    yield Passage(text[start:stop], self._offset + start, headings)
                    start, num_words, headings, has_text = stop, 0, self._headings(), False
        if text[start:]:
            yield Passage(text[start:], self._offset + start, headings)

    def _headings(self) -> tuple[str, ...]:
        return tuple(title for _, title in self._path)


def passages_of(text: str) -> list[Passage]:
    """The passages of a whole document."""
    return list(Splitter().feed(text, last=True))


def count_words(text: str) -> int:
    """The words of a text; in writing without spaces, two characters count as one."""
    return sum(1 for _ in WORD.finditer(text))


def _blocks(text: str) -> Iterator[_Block]:
    """The paragraphs and headings of a text, which together are all of it."""
    begin = place = num_lines = 0
    only_line, was_blank, in_fence = "", True, False
    for line in text.split("\n"):
        stop = min(place + len(line) + 1, len(text))
        is_blank = not line.strip()
        if FENCE.match(line):
            in_fence = not in_fence
        marked = None if in_fence else HASHES.match(line)
        is_underline = num_lines == 1 and not in_fence and UNDERLINE.match(line) and not FENCE.match(line)
        is_underline = is_underline and len(only_line) <= MAX_HEADING_CHARACTERS
        if marked and 0 < len(marked[2]) <= MAX_HEADING_CHARACTERS:
            if begin < place:
                yield _Block(begin, place)
            yield _Block(place, stop, len(marked[1]), marked[2])
            begin, num_lines = stop, 0
        elif is_underline:
            yield _Block(begin, stop, 1 if "=" in line else 2, only_line)
            begin, num_lines = stop, 0
        elif is_blank and not in_fence:
            if num_lines == 1 and _looks_like_heading(only_line):
                yield _Block(begin, stop, SOFT_LEVEL, only_line)
                begin, num_lines = stop, 0
        else:
            if was_blank and num_lines:
                yield _Block(begin, place)
                begin, num_lines = place, 0
            only_line, num_lines = line.strip(), num_lines + 1
        was_blank = is_blank and not in_fence
        place = stop
    if begin < len(text):
        yield _Block(begin, len(text))


def _looks_like_heading(line: str) -> bool:
    return bool(LOOKS_LIKE_HEADING.match(line)) and len(line.split()) <= MAX_HEADING_WORDS and not line[0].islower()


def _split(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """A block in pieces of no more words than a passage has: at the ends of sentences, else of lines, else of words."""
    yield from _split_by(text, start, stop, (SENTENCES, LINES, WORDS))


def _split_by(text: str, start: int, stop: int, ends: tuple[re.Pattern[str], ...]) -> Iterator[tuple[int, int]]:
    if not ends or count_words(text[start:stop]) <= MAX_WORDS:
        yield start, stop
        return
    begin = start
    for end in [*(match.end() for match in ends[0].finditer(text, start, stop)), stop]:
        if end > begin:
            yield from _split_by(text, begin, end, ends[1:])
            begin = end
