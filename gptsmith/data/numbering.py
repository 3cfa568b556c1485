"""The numbers of lists, as word processors count and write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"),
         (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip

BULLET = "- "


@dataclass
class Level:
    """A level of a list."""

    format: str = "decimal"
    """`decimal`, `lowerLetter`, `upperLetter`, `lowerRoman`, `upperRoman`, `bullet` or `none`; others count as
    decimal."""

    template: str = ""
    """The text before an item, with %1 for the number of the first level: `%1.%2.`"""

    start: int = 1


class Counters:
    """Counts the items of one list."""

    def __init__(self, levels: dict[int, Level]) -> None:
        self.levels = levels
        self.counts: dict[int, int] = {}

    def next(self, depth: int) -> str:
        """The text before the next item at a depth, with a space after it; empty if there is none."""
        level = self.levels.get(depth)
        if level is None or level.format == "none":
            return ""
        if level.format == "bullet":
            return BULLET
        self.counts[depth] = self.counts.get(depth, level.start - 1) + 1
        # An item begins the levels below it anew.
        self.counts = {deep: count for deep, count in self.counts.items() if deep <= depth}

        def number(found: re.Match) -> str:
            other = int(found[1]) - 1
            shown = self.levels.get(other, Level())
            return written(self.counts.get(other, shown.start), shown.format)

        text = re.sub(r"%([1-9])", number, level.template)
        return f"{text} " if text.strip() else ""


def written(number: int, style: str) -> str:
    """A number in a style: `iv` for 4 in lowerRoman.

    Numbers that are not written so, such as 0 or a million, are decimal.
    """
    if style.endswith("Letter") and 0 < number <= 780:
        # After z comes aa, then bb.
        text = chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)
    elif style.endswith("Roman") and 0 < number < 4000:
        text, left = "", number
        for value, letters in ROMAN:
            text += letters * (left // value)
            left %= value
    else:
        return str(number)
    return text.upper() if style.startswith("upper") else text
