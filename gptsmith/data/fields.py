"""Fields of records: their plain names, and whether their values are text or ids, links, paths, dates or numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

PROSE, WORDS, NOTHING = "texts", "single words", "nothing"
NOT_TEXT: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("numbers", re.compile(r"[-+]?[$€£]?\d[\d.,'\u2019\s]*(?:e[-+]?\d+)?\s*[%$€£]?", re.IGNORECASE)),
    (
        "dates",
        re.compile(
            r"(?:\w{3,9},?\s+)?(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/. ](?:\d{1,2}|\w{3,9})[-/. ]\d{2,4}"
            r"|[A-Z][a-z]{2,8}\.? \d{1,2},? \d{4})(?:,?[T\s]+\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?"
            r"\s*(?:[AaPp][Mm])?\s*(?:Z|UTC|GMT|[-+]\d{2}:?\d{2})?)?|\d{1,2}:\d{2}(?::\d{2})?(?:\s*[AaPp][Mm])?"
        ),
    ),
    ("links", re.compile(r"(?:[a-z][a-z0-9+.-]*://|www\.|mailto:)\S+|[^\s@]+@[^\s@]+\.\w+", re.IGNORECASE)),
    (
        "identifiers",
        re.compile(
            r"(?:[a-z0-9]{2,8}:)?[0-9a-f]{8,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
            r"|(?=[^\s]*\d)(?=[^\s]*[a-z])[\w.:#+=-]{6,}|[a-z]+[-_#]?\d+",
            re.IGNORECASE,
        ),
    ),
    (
        "paths",
        re.compile(
            r"(?:[A-Za-z]:)?[^\s\\/]*(?:[\\/][^\s\\/]*)+|(?:[A-Za-z]:\\|~?/|\.{1,2}/).*\.\w{1,5}|\S+\.[a-z]\w{1,4}"
        ),
    ),
)
"""What the values of a field can be besides text, in the order in which they are tried."""
NAMES_OF_NOT_TEXT = re.compile(
    r"(?:.*[_\W])?(?:id|ids|uuid|guid|key|hash|md5|sha1|sha256|url|urls|uri|href|link|links|permalink"
    r"|path|file|filename|date|time|datetime|timestamp|rejected)|.*_at"
)
CAMEL_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
LETTERS_OF_PROSE = 0.4


def plain_name(name: str) -> str:
    """The name of a field as it is compared with the usual ones: without padding, quotes and capitals."""
    return name.strip("\ufeff \t\r\n'\"\u201c\u201d").casefold()


def plain_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the plain names of its fields; of two fields with the same plain name, the first."""
    plain: dict[str, Any] = {}
    for name, value in fields.items():
        plain.setdefault(plain_name(str(name)), value)
    return plain


def value_kind(value: str) -> str:
    """What a value is: `texts`, `single words`, `numbers`, `dates`, `links`, `identifiers` or `paths`."""
    value = value.strip()
    for kind, pattern in NOT_TEXT:
        # A long value is text, whatever it begins with, and a pattern need not read it.
        if len(value) < 500 and pattern.fullmatch(value):
            return kind
    num_letters = sum(map(str.isalpha, value[:1000]))
    num_characters = sum(not character.isspace() for character in value[:1000])
    if num_letters < LETTERS_OF_PROSE * num_characters:
        return WORDS
    # Thai, Chinese and Japanese write no spaces between words.
    has_several_words = len(value.split(maxsplit=1)) > 1 or (
        num_letters >= 4 and sum(character >= "\u0e00" for character in value[:1000]) >= num_letters / 2
    )
    return PROSE if has_several_words else WORDS


def field_kind(name: str, samples: Sequence[Mapping[str, Any]]) -> str:
    """What most values of a field are, as `value_kind` says; `nothing` if all are blank, `records` if they hold
    others."""
    values = [sample.get(name) for sample in samples]
    values = [value for value in values if value is not None and not (isinstance(value, str) and not value.strip())]
    if not values:
        return NOTHING
    kinds = Counter(map(_kind, values))
    if kinds[PROSE] * 2 >= len(values):
        return PROSE
    return kinds.most_common(1)[0][0]


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return value_kind(value)
    if isinstance(value, int | float):
        return "true or false" if isinstance(value, bool) else "numbers"
    return "lists" if isinstance(value, list | tuple) else "records" if isinstance(value, Mapping) else "no text"


def is_named_like_text(name: str) -> bool:
    """Whether a field's name says nothing of ids, links, hashes, paths, dates and answers to avoid."""
    return NAMES_OF_NOT_TEXT.fullmatch(CAMEL_HUMP.sub("_", name.strip()).casefold()) is None
