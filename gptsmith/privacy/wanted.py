"""Words that are looked for, in any spelling: of a person, mostly."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from gptsmith.base.errors import UserError
from gptsmith.base.json_text import json_text

FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
APOSTROPHES, HYPHENS = "'\u2019\u02bc`", "-\u2010\u2011\u2013"
"""Characters that are written for one another."""
SPACE_IN_FILES = r"(?:\s|\\[nrt]|\\u00a0)+"
"""Between words in a file, where JSON may spell the end of a line."""
BLOCK_BYTES, OVERLAP_BYTES = 1 << 22, 1 << 12
"""Files are searched in such blocks, each with so much of the one before."""


@dataclass(frozen=True)
class Wanted:
    """Some words that stand one after the other. Case, the space between them, the form of accents, apostrophes and
    hyphens do not matter; they are whole words.

    Raises:
        UserError: there is none.
    """

    text: str

    def __post_init__(self) -> None:
        if not self.words:
            raise UserError("--find has no words to look for: name a person or a passage, such as --find 'Anna Berg'")

    @property
    def words(self) -> list[str]:
        """The words, as they were given."""
        return self.text.split()

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches them in a text."""
        forms = dict.fromkeys(unicodedata.normalize(form, self.text) for form in FORMS)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(_spelled, forms))})(?!\w)", re.IGNORECASE)

    @cached_property
    def _pattern_in_files(self) -> re.Pattern[str]:
        """Matches them in a file, where JSON may spell them in ASCII."""
        forms = [unicodedata.normalize(form, self.text) for form in FORMS]
        escaped = [json_text(form, ensure_ascii=True)[1:-1] for form in forms]
        spelled = (_spelled(form, SPACE_IN_FILES) for form in dict.fromkeys([*forms, *escaped]))
        return re.compile("|".join(spelled), re.IGNORECASE)

    @cached_property
    def _longest(self) -> bytes:
        """The longest word that has one spelling but for its case, which is fast to look for; empty if none has."""
        plain = (word for word in self.words if word.isascii() and word.isalnum())
        return max(plain, key=len, default="").lower().encode()

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """The first character and the one after the last of each place where they stand."""
        return (match.span() for match in self.pattern.finditer(text))

    def alone(self) -> list[Wanted]:
        """Each of several words alone: other spellings of a name, for a person to choose from."""
        return [Wanted(word) for word in self.words] if len(self.words) > 1 else []

    def is_in(self, path: Path) -> bool:
        """Whether a file holds them, in text or in JSON, whatever else it holds. One that cannot be read does not."""
        try:
            with path.open("rb") as file:
                before = b""
                while block := file.read(BLOCK_BYTES):
                    whole = before + block
                    if self._longest in whole.lower() and self._pattern_in_files.search(
                        whole.decode("utf-8", "ignore")
                    ):
                        return True
                    before = block[-OVERLAP_BYTES:]
        except OSError:
            return False
        return False


def _spelled(text: str, space: str = r"\s+") -> str:
    """A regular expression for a text, whatever space there is between its words."""
    return space.join("".join(map(_character, word)) for word in text.split())


def _character(character: str) -> str:
    for alike in (APOSTROPHES, HYPHENS):
        if character in alike:
            return f"[{re.escape(alike)}]"
    return re.escape(character)
