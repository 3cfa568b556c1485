"""Private keys in PEM's form (RFC 7468), and those of OpenSSH and PGP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.care.finders import FinderSettings, Span

KEY = re.compile(
    r"-----BEGIN ((?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?)-----(?:(?!-----BEGIN ).){0,20000}?-----END \1-----"
    r"|-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s]{0,20000}",  # its end was cut off
    re.DOTALL,
)


class PrivateKeySettings(FinderSettings):
    """`-----BEGIN PRIVATE KEY-----` to its end."""

    kind: Literal["private_key"] = "private_key"
    noun: ClassVar[str] = "private keys"
    is_secret: ClassVar[bool] = True

    def find(self, text: str) -> Iterator[Span]:
        return (match.span() for match in KEY.finditer(text))
