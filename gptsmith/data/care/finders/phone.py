"""Telephone numbers: international ones, and national ones that are written in groups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.care.finders import FinderSettings, Span

GAP = r"(?:[ ./-]|\) ?| \(0\) ?| ?\()?"
NUMBER = re.compile(
    r"[+(0-9](?<![\w.,/+-].)(?<!\d .)(?:"
    rf"(?:(?<=\+)|(?<=0)0)[1-9](?:{GAP}\d){{7,14}}"  # +49 30 1234567, 0047 22 12 34 56, +1 (212) 555-0123
    r"|(?:(?<=\()0[1-9]\d{1,4}\)|(?<=0)(?!\d\d-\d\d-\d{4}\b)[1-9]\d{1,4})"  # (030) 1234567, 0171/123 45 67
    r"(?: ?/ ?|[ -])\d{2,4}(?:[ -]?\d{2,4}){1,3}"
    r"|(?:(?<=\()[2-9]\d{2}\) ?|(?<=[2-9])\d{2}[ .-])[2-9]\d{2}[.-]\d{4}"  # (212) 555-0123, 212.555.0123
    r")(?![\w/]|[.,-]\d)"
)
FEWEST_DIGITS, MOST_DIGITS = 8, 15
"""Of a number (ITU-T E.164 allows 15); shorter ones look like others."""


class PhoneSettings(FinderSettings):
    """`+47 22 12 34 56`."""

    kind: Literal["phone"] = "phone"
    noun: ClassVar[str] = "telephone numbers"

    def find(self, text: str) -> Iterator[Span]:
        for match in NUMBER.finditer(text):
            if FEWEST_DIGITS <= sum(map(str.isdecimal, match[0])) <= MOST_DIGITS:
                yield match.span()
