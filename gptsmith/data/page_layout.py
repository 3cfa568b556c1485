"""Lines of print on pages to paragraphs: columns one after the other, running heads and page numbers off."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

# A page's first and last lines that may be a running head or a page number.
EDGE_LINES = 3

# A head is repeated on the next page, or on the one after it where left and right pages differ.
PAGES_AROUND = 2

# How far a line may be from the place of the same one on another page, in parts of the page's height.
SAME_PLACE = 0.015

NUMBER = re.compile(r"\d+|\b[ivxlc]+\b", re.IGNORECASE)
ENDS_SENTENCE = re.compile(r"[.!?:;\u2026\u3002][\"'\u201d\u2019)\]]*$")
BULLET = re.compile(r"[\u2022\u2023\u25aa\u25cf]|[\u2013*-]\s|\(?(?:\d{1,3}[.)]|[a-zA-Z]\))(?=\D)")


@dataclass
class Line:
    """A line of print, with its box in points from the lower left corner of the page."""

    text: str
    left: float
    bottom: float
    right: float
    top: float

    @property
    def height(self) -> float:
        return max(self.top - self.bottom, 0.1)


@dataclass
class Page:
    """The lines of a page in the order of the file."""

    lines: list[Line]
    height: float


def paragraphs(pages: Iterable[Page]) -> Iterator[str]:
    """The paragraphs of pages; one that goes on over a column's or a page's end is one."""
    open_lines: list[Line] = []
    for page in without_running_heads(pages):
        for block in blocks(in_reading_order(page.lines)):
            if open_lines and not continues(open_lines, block):
                yield joined(open_lines)
                open_lines = []
            open_lines = open_lines + block
    if open_lines:
        yield joined(open_lines)


def without_running_heads(pages: Iterable[Page]) -> Iterator[Page]:
    """Pages without the lines at their edges that are repeated at the same place of a page near by, and without
    numbers that stand there alone."""
    window: deque[Page] = deque(maxlen=2 * PAGES_AROUND + 1)
    edges: deque[set[int]] = deque(maxlen=2 * PAGES_AROUND + 1)
    waiting = 0
    source = iter(pages)
    ended = False
    while True:
        page = None if ended else next(source, None)
        ended = page is None
        if page is not None:
            window.append(page)
            edges.append(edge_lines(page))
            waiting += 1
        if waiting and (ended or waiting > PAGES_AROUND):
            at = len(window) - waiting
            around = [(window[n], edges[n]) for n in range(len(window)) if 0 < abs(n - at) <= PAGES_AROUND]
            yield _without_heads(window[at], edges[at], around)
            waiting -= 1
        elif ended:
            return


def edge_lines(page: Page) -> set[int]:
    """The indexes of the highest and the lowest lines of a page."""
    order = sorted(range(len(page.lines)), key=lambda index: -page.lines[index].bottom)
    return {*order[:EDGE_LINES], *order[-EDGE_LINES:]}


def _without_heads(page: Page, edges: set[int], around: list[tuple[Page, set[int]]]) -> Page:
    def is_repeated(line: Line) -> bool:
        text = masked(line.text)
        return any(
            masked(other.lines[index].text) == text
            and abs(other.lines[index].bottom - line.bottom) < SAME_PLACE * page.height
            for other, indexes in around
            for index in indexes
        )

    heads = {index for index in edges if is_repeated(page.lines[index])}
    # Prose between a head and the text is kept: heads are at the very edge.
    order = sorted(range(len(page.lines)), key=lambda index: -page.lines[index].bottom)
    outer: set[int] = set()
    for indexes in (order, order[::-1]):
        for index in indexes:
            if index not in heads:
                break
            outer.add(index)
    if len(outer) == len(page.lines) and any(masked(line.text).strip("#-\u2013 ") for line in page.lines):
        return page  # pages of the same text, as forms and cards are, have no heads
    return Page([line for index, line in enumerate(page.lines) if index not in outer], page.height)


def masked(text: str) -> str:
    """A line with its numbers alike."""
    return NUMBER.sub("#", text.strip())


def in_reading_order(lines: list[Line]) -> list[Line]:
    """The lines of a page, those of the left column first where the file goes from column to column in each row."""
    gutter = _gutter(lines)
    if gutter is None:
        return lines
    ordered: list[Line] = []
    left: list[Line] = []
    right: list[Line] = []
    for line in lines:
        if line.left < gutter < line.right:
            # What goes over both columns ends them.
            ordered += left + right
            left, right = [], []
            ordered.append(line)
        else:
            (left if line.right <= gutter else right).append(line)
    return ordered + left + right


def _gutter(lines: list[Line]) -> float | None:
    """The middle of the white space between two columns whose lines alternate in the file; None if there is none."""
    rows = [
        (one, other)
        for one, other in pairwise(lines)
        if abs(one.bottom - other.bottom) < 0.5 * min(one.height, other.height) and one.right < other.left
    ]
    # Rows of a table are short; lines of prose fill their column.
    if len(rows) < 3 or median(min(len(one.text), len(other.text)) for one, other in rows) < 15:
        return None
    ends, starts = max(one.right for one, _ in rows), min(other.left for _, other in rows)
    return (ends + starts) / 2 if ends < starts else None


def blocks(lines: list[Line]) -> Iterator[list[Line]]:
    """The lines of a page in groups that are paragraphs, or the parts of one in a column."""
    block: list[Line] = []
    steps = [one.bottom - other.bottom for one, other in pairwise(lines) if 0 < one.bottom - other.bottom < 60]
    step = median(steps) if steps else 0.0
    for index, line in enumerate(lines):
        if block and begins_block(block, line, step, lines[index + 1] if index + 1 < len(lines) else None):
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def begins_block(block: list[Line], line: Line, step: float, following: Line | None) -> bool:
    """Whether a line begins another block than that of the lines before it."""
    before = block[-1]
    em = max(before.height, line.height)
    down = before.bottom - line.bottom
    if abs(down) < 0.3 * em and line.left >= before.right - em:
        return False  # it goes on in the same line of print
    if down <= 0 or line.left > before.right or line.right < before.left:
        return True  # another column
    if down > 1.4 * max(step, 0.0) and down > 1.6 * em:
        return True
    if not 0.8 < line.height / before.height < 1.25:
        return True
    if BULLET.match(line.text):
        return True
    first = block[0].left
    usual = (
        block[1].left if len(block) > 1 else (following.left if following and following.bottom < line.bottom else first)
    )
    if line.left > usual + 0.8 * em and len(block) > 1:
        return True  # indented
    if len(block) == 1 and line.left > before.left + 0.8 * em and not BULLET.match(before.text):
        return True
    # A line that ends well before the others do is the last of its paragraph.
    right = max(one.right for one in (*block, line, *([following] if following else [])))
    width = right - min(first, line.left)
    return before.right < right - 0.25 * width and bool(ENDS_SENTENCE.search(before.text))


def continues(lines: list[Line], block: list[Line]) -> bool:
    """Whether a block in another column or on another page goes on with the paragraph of the lines before it."""
    last, first = lines[-1], block[0]
    if first.bottom < last.bottom and first.left < last.right and first.right > last.left:
        return False  # below it in the same column, where `blocks` has divided them
    if ENDS_SENTENCE.search(last.text) or not 0.8 < first.height / last.height < 1.25:
        return False
    return first.text[:1].islower()


def joined(lines: list[Line]) -> str:
    """The text of a paragraph's lines. A hyphen that the file marks as one of a broken word is off already."""
    text = ""
    for line in lines:
        words = line.text.strip()
        if text.endswith("\u00ad"):
            text = text[:-1] + words
        elif text and words:
            text += "" if is_unspaced(text[-1]) and is_unspaced(words[0]) else " "
            text += words
        else:
            text += words
    return text.removesuffix("\u00ad")


def is_unspaced(character: str) -> bool:
    """Whether a character is of a script that writes no spaces between words: Chinese, Japanese."""
    return "\u3000" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or "\uff00" <= character <= "\uffef"
