"""Passwords in URLs (RFC 3986, section 3.2.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from gptsmith.data.care.finders import FinderSettings, Span

USER_AND_PASSWORD = re.compile(r"://([^\s/:@?#]{0,100}:[^\s/@?#]{1,200})@[\w.-]")
EXAMPLES = ("password", "pass", "secret", "<", "{", "$", "***")


class UrlPasswordSettings(FinderSettings):
    """`postgres://anna:hunter2@db.example.org`: the user and the password."""

    kind: Literal["url_password"] = "url_password"
    noun: ClassVar[str] = "passwords in URLs"
    is_secret: ClassVar[bool] = True

    def find(self, text: str) -> Iterator[Span]:
        for match in USER_AND_PASSWORD.finditer(text):
            password = match[1].partition(":")[2]
            if not password.lower().startswith(EXAMPLES):  # documentation, and templates that are still to be filled
                yield match.span(1)
