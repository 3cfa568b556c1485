"""International bank account numbers, by their country's length and their check digits (ISO 13616)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.care.check_digits import passes_mod_97
from gptsmith.data.care.finders import FinderSettings, Span

LENGTHS = {
    length: frozenset(countries.split())
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ DZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA",
        30: "JO KW MU", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
}  # fmt: skip
"""The countries whose numbers have so many characters."""
NUMBER = re.compile(r"[A-Z](?<!\w[A-Z])[A-Z]\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?(?!\w)")


class IbanSettings(FinderSettings):
    """`DE89 3704 0044 0532 0130 00`."""

    kind: Literal["iban"] = "iban"
    noun: ClassVar[str] = "bank accounts (IBAN)"

    def find(self, text: str) -> Iterator[Span]:
        for match in NUMBER.finditer(text):
            for stop in _stops(text, match):
                code = text[match.start() : stop].replace(" ", "")
                if code[:2] in LENGTHS.get(len(code), ()) and passes_mod_97(code):
                    yield match.start(), stop
                    break


def _stops(text: str, match: re.Match[str]) -> Iterator[int]:
    """Where the number may end: where the match does, or before a word of capitals behind it."""
    yield match.end()
    yield from (match.start() + place for place, character in enumerate(match[0]) if character == " ")
