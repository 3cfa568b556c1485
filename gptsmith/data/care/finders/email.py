"""E-mail addresses (RFC 5321, without quoted local parts)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.care.finders import FinderSettings, Span

LOCAL = re.compile(r"[\w+%'-]+(?:\.[\w+%'-]+)*\Z")
DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_]{2,24}")
LOCAL_CHARACTERS = 64


class EmailSettings(FinderSettings):
    """`anna.berg@example.org`."""

    kind: Literal["email"] = "email"
    noun: ClassVar[str] = "e-mail addresses"

    def find(self, text: str) -> Iterator[Span]:
        end = 0
        at = text.find("@")
        while at >= 0:
            local = LOCAL.search(text, max(end, at - LOCAL_CHARACTERS), at)
            domain = DOMAIN.match(text, at + 1)
            if local and domain and not _is_of_a_url(text, local.start()):
                end = domain.end()
                yield local.start(), end
            at = text.find("@", max(at + 1, end))


def _is_of_a_url(text: str, start: int) -> bool:
    """Whether what begins there is the password of a URL."""
    return text.startswith(":", start - 1) and "://" in re.split(r"\s", text[max(0, start - 200) : start])[-1]
