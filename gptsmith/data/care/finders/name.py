"""Names, and other words, that a person lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import ClassVar, Literal
from unicodedata import combining, normalize

from gptsmith.base.spans import without_overlaps
from gptsmith.data.care.finders import FinderSettings, Span

WORD = re.compile(r"[^\W_]+")
BEFORE, BEHIND = r"(?<![^\W_])", r"(?![^\W_]|[\u0300-\u036f])"
"""No letter or digit, nor an accent of the letter before."""
SPACE = r"(?:[^\S\n]+|[^\S\n]*\n[^\S\n]*)"
"""Between words, on one line or across its end."""
WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Letters of scripts that have no spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""


class NameSettings(FinderSettings):
    """Names that a person lists, as whole words, also across the end of a line. Words with capitals are found as they
    are listed, and in capitals alone; others in any case."""

    kind: Literal["name"] = "name"
    noun: ClassVar[str] = "listed names"
    is_listed: ClassVar[bool] = True
    names: tuple[str, ...] = ()

    def find(self, text: str) -> Iterator[Span]:
        by_word, unspaced = _patterns(self.names)
        found = [match.span() for match in unspaced.finditer(text)] if unspaced is not None else []
        for word in WORD.finditer(text) if by_word else ():
            for offset, pattern in by_word.get(word[0].casefold(), ()):
                if word.start() >= offset and (match := pattern.match(text, word.start() - offset)):
                    found.append(match.span())
        yield from without_overlaps(sorted(found, key=lambda span: (span[0], -span[1])), lambda span: span)


@lru_cache(maxsize=8)
def _patterns(names: tuple[str, ...]) -> tuple[dict[str, list[tuple[int, re.Pattern[str]]]], re.Pattern[str] | None]:
    """The patterns of names by their first word in lower case, each with the place of that word in it; and one for all
    names in scripts without spaces."""
    by_word: dict[str, list[tuple[int, re.Pattern[str]]]] = {}
    unspaced = [re.escape(name) for name in names if WITHOUT_SPACES.search(name)]
    for name in dict.fromkeys(normalize(form, name) for name in names for form in ("NFC", "NFD")):
        if not WITHOUT_SPACES.search(name) and (first := WORD.search(name)):
            by_word.setdefault(first[0].casefold(), []).append((first.start(), re.compile(_pattern(name))))
    return by_word, re.compile("|".join(sorted(unspaced, key=len, reverse=True))) if unspaced else None


def _pattern(name: str) -> str:
    words = SPACE.join(_in_its_cases(word) for word in name.split())
    starts, ends = (character.isalnum() or combining(character) for character in (name[0], name[-1]))
    return (BEFORE if starts else "") + words + (BEHIND if ends else "")


def _in_its_cases(word: str) -> str:
    """The pattern of a word in the cases in which people write it."""
    if word == word.lower():
        return f"(?i:{re.escape(word)})"
    return f"(?:{re.escape(word)}|{re.escape(word.upper())})"
