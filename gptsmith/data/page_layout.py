"""Lines of print on pages to paragraphs: columns one after the other, tables row by row, running heads off.

Columns and tables are seen where the file draws them row by row; a table that it draws cell by cell, whose cells have
several lines, stays the lines that it has.
"""

from __future__ import annotations

import re
from bisect import bisect, bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from statistics import median

# A page's first and last lines that may be a running head or a page number.
EDGE_LINES = 3

# A head is repeated on the next page, or on the one after it where left and right pages differ.
PAGES_AROUND = 2

# Fewer rows of cells that stand below each other are no table, and of lines no columns.
FEWEST_ROWS = 3

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
    is_row: bool = False
    """Whether it is a row of a table, its cells apart by tabs."""

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
    """The lines of a page: the rows of its tables as one line each, and columns one after the other where the file goes
    from column to column in each row."""
    rows = _rows(lines)
    gutters = _gutters(rows)
    ordered: list[Line] = []
    columns: list[list[Line]] = [[] for _ in range(len(gutters) + 1)]
    for line in lines if gutters else _with_tables(rows):
        if any(line.left < gutter < line.right for gutter in gutters):
            # What goes over several columns ends them.
            ordered += chain(*columns, [line])
            columns = [[] for _ in columns]
        else:
            columns[bisect(gutters, line.left)].append(line)
    return [*ordered, *chain(*columns)]


def _rows(lines: list[Line]) -> list[list[Line]]:
    """The pieces of print that follow each other in the file and stand side by side, from left to right."""
    rows: list[list[Line]] = []
    for line in lines:
        last = rows[-1][-1] if rows else None
        if (
            last is not None
            and abs(last.bottom - line.bottom) < 0.5 * min(last.height, line.height)
            and last.right < line.left
        ):
            rows[-1].append(line)
        else:
            rows.append([line])
    return rows


def _gutters(rows: list[list[Line]]) -> list[float]:
    """The middles of the white spaces between columns of prose; none if a page has one column."""
    sizes = Counter(len(row) for row in rows if len(row) > 1)
    if not sizes:
        return []
    size = sizes.most_common(1)[0][0]
    rows = [row for row in rows if len(row) == size]
    # Rows of a table are short; lines of prose fill their column.
    if len(rows) < FEWEST_ROWS or median(min(len(piece.text) for piece in row) for row in rows) < 15:
        return []
    gutters = []
    for number in range(1, size):
        end, start = max(row[number - 1].right for row in rows), min(row[number].left for row in rows)
        if end >= start:
            return []
        gutters.append((end + start) / 2)
    return gutters


def _with_tables(rows: list[list[Line]]) -> Iterator[Line]:
    """The lines of some rows, those of a table as one line each row."""
    table: list[list[Line]] = []
    for row in [*rows, []]:
        if len(row) > 1 and (not table or len(_columns([*table, row])) > 1):
            table.append(row)
            continue
        yield from _as_table(table)
        table = [row] if len(row) > 1 else []
        if not table:
            yield from row


def _columns(rows: list[list[Line]]) -> list[float]:
    """The right ends of the columns in which the cells of rows stand; none if two cells of a row are in one column."""
    ends: list[float] = []
    for line in sorted(chain(*rows), key=lambda line: line.left):
        if ends and line.left < ends[-1]:
            ends[-1] = max(ends[-1], line.right)
        else:
            ends.append(line.right)
    for row in rows:
        if len({bisect_left(ends, line.right) for line in row}) < len(row):
            return []
    return ends


def _as_table(rows: list[list[Line]]) -> Iterator[Line]:
    """Rows as one line each, with an empty cell where one has none; too few are no table, and stay as they are."""
    if len(rows) < FEWEST_ROWS:
        yield from chain(*rows)
        return
    columns = _columns(rows)
    for row in rows:
        cells = [""] * len(columns)
        for line in row:
            cells[bisect_left(columns, line.right)] = line.text.replace("\u00ad", "")
        yield Line(
            "\t".join(cells).rstrip(), row[0].left, min(line.bottom for line in row), row[-1].right,
            max(line.top for line in row), is_row=True,
        )  # fmt: skip


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
    if before.is_row or line.is_row:
        return not (before.is_row and line.is_row)
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
    if last.is_row or first.is_row:
        return False
    if first.bottom < last.bottom and first.left < last.right and first.right > last.left:
        return False  # below it in the same column, where `blocks` has divided them
    if ENDS_SENTENCE.search(last.text) or not 0.8 < first.height / last.height < 1.25:
        return False
    return first.text[:1].islower()


def joined(lines: list[Line]) -> str:
    """The text of a paragraph's lines. A hyphen that the file marks as one of a broken word is off already. The rows of
    a table stay lines."""
    if lines[0].is_row:
        return "\n".join(line.text for line in lines)
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
