"""Numbers of payment cards, by their length, their first digits and Luhn's check digit (ISO/IEC 7812)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.care.check_digits import passes_luhn
from gptsmith.data.care.finders import FinderSettings, Span

# In groups of four, in American Express's 4-6-5, or without any separator.
NUMBER = re.compile(
    r"[3-6](?<![\w.+-]\d)"
    r"(?:\d{3}([ -]?)\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|(?<=3)[47]\d{2}([ -]?)\d{6}\2\d{5})(?![\w-]|\.\d)"
)


class PaymentCardSettings(FinderSettings):
    """`4111 1111 1111 1111`."""

    kind: Literal["payment_card"] = "payment_card"
    noun: ClassVar[str] = "payment cards"

    def find(self, text: str) -> Iterator[Span]:
        for match in NUMBER.finditer(text):
            digits = match[0].replace(" ", "").replace("-", "")
            if len(set(digits)) > 1 and passes_luhn(digits):
                yield match.span()
