"""Numbers that a state gives to a person, of states whose numbers check themselves, and of the United States."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import ClassVar, Literal

from gptsmith.data.care.check_digits import weighted_sum
from gptsmith.data.care.finders import FinderSettings, Span

CANDIDATE = re.compile(r"\d(?<![\w.,+/-]\d)(?:[ .-]?\d){7,16}(?:-?[\dXx])?(?![\w/]|[.,-]\d)")


class NationalNumberSettings(FinderSettings):
    """A Norwegian, Chinese or Brazilian number by its check digits; a Dutch or US one where its name stands before it,
    because one of eleven numbers, or any, could be one."""

    kind: Literal["national_number"] = "national_number"
    noun: ClassVar[str] = "national numbers"

    def find(self, text: str) -> Iterator[Span]:
        for match in CANDIDATE.finditer(text):
            digits = re.sub("[ .-]", "", match[0]).upper()
            before = text[max(0, match.start() - 40) : match.start()].lower()
            if any(is_one(digits, before) for is_one in CHECKS.get(len(digits), ())):
                yield match.span()


def _is_norwegian(digits: str, before: str) -> bool:
    """A fødselsnummer: a date of birth, and two digits modulo 11."""
    if not digits.isdecimal():
        return False
    day, month = int(digits[:2]), int(digits[2:4])
    return (
        (1 <= day <= 31 or 41 <= day <= 71)
        and (1 <= month <= 12 or 41 <= month <= 52)
        and weighted_sum(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11 == 0
        and weighted_sum(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0
    )


def _is_brazilian(digits: str, before: str) -> bool:
    """A CPF: two digits modulo 11."""
    if not digits.isdecimal() or len(set(digits)) == 1:
        return False
    first = weighted_sum(digits, range(10, 1, -1)) * 10 % 11 % 10
    second = weighted_sum(digits, range(11, 1, -1)) * 10 % 11 % 10
    return digits[9:] == f"{first}{second}"


def _is_chinese(digits: str, before: str) -> bool:
    """A resident identity number: a date of birth, and a digit by ISO 7064, MOD 11-2."""
    try:
        born = date(int(digits[6:10]), int(digits[10:12]), int(digits[12:14]))
    except ValueError:
        return False
    weights = [2**power % 11 for power in range(17, 0, -1)]
    return born.year >= 1900 and "10X98765432"[weighted_sum(digits, weights) % 11] == digits[17]


def _is_dutch(digits: str, before: str) -> bool:
    """A burgerservicenummer: a sum modulo 11."""
    is_named = "bsn" in before or "burgerservice" in before or "sofinummer" in before
    return is_named and digits.isdecimal() and weighted_sum(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def _is_american(digits: str, before: str) -> bool:
    """A social security number: none has an area of 000, 666 or 900 and more, a group of 00 or a serial of 0000."""
    is_named = "ssn" in before or "social security" in before
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return is_named and area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


CHECKS: dict[int, tuple[Callable[[str, str], bool], ...]] = {
    9: (_is_dutch, _is_american),
    11: (_is_norwegian, _is_brazilian),
    18: (_is_chinese,),
}
"""Whether so many digits are the number of a state; the second argument is the text before it, in lower case."""
