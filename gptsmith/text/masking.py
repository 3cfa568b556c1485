"""What people wrote, hidden from a chat template where it spells special tokens, and put back as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gptsmith.base.errors import DataError
from gptsmith.text.tokenizer import Tokenizer

FIRST_MASK = 0xF0000
"""Masks are characters of a private plane, so that no template does anything to them."""


def special_pattern(tokenizer: Tokenizer) -> re.Pattern[str]:
    """Matches the spelling of any special token, longer ones first."""
    return re.compile("|".join(map(re.escape, sorted(tokenizer.special_tokens, key=len, reverse=True))))


class Masking:
    """Masks of the special spellings in some values, such as the messages and tools of a conversation."""

    def __init__(self, tokenizer: Tokenizer, *values: Any) -> None:
        written = {character for value in values for text in _texts(value) for character in text}
        self._free = (chr(code) for code in range(FIRST_MASK, FIRST_MASK + 0xFFFE) if chr(code) not in written)
        self._special = special_pattern(tokenizer)
        self._tokenizer = tokenizer
        self.hidden: dict[str, str] = {}
        """The spelling that each mask stands for."""

    def masked(self, value: Any) -> Any:
        """A value with each special spelling in its texts replaced by a character that is nowhere in them.

        Raises:
            DataError: there is no character left for it.
        """
        if isinstance(value, str):
            return self._special.sub(self._mask, value)
        if isinstance(value, Mapping):
            return {self.masked(name): self.masked(inner) for name, inner in value.items()}
        return list(map(self.masked, value)) if isinstance(value, list | tuple) else value

    def _mask(self, match: re.Match[str]) -> str:
        known = next((character for character, spelling in self.hidden.items() if spelling == match[0]), None)
        if known is None:
            known = next(self._free, None)
            if known is None:
                raise DataError("this conversation holds every private character and the spelling of a special token")
            self.hidden[known] = match[0]
        return known

    def ids(self, text: str, *, begins: bool = True) -> list[int]:
        """The ids of rendered text: special tokens as themselves, all else as text. `begins` says whether nothing
        stands before it."""
        tokenizer = self._tokenizer
        if begins and not self.hidden and (whole := tokenizer.encode_spelt(text)) is not None:
            return whole
        ids: list[int] = []
        start, encode = 0, tokenizer.encode if begins else tokenizer.encode_inside
        for begin, end, number in tokenizer.special_matches(text):
            ids += self._text_ids(text[start:begin], encode)
            ids.append(number)
            start, encode = end, tokenizer.encode_inside
        return ids + self._text_ids(text[start:], encode)

    def _text_ids(self, text: str, encode: Callable[[str], Sequence[int]]) -> list[int]:
        for character, spelling in self.hidden.items():
            text = text.replace(character, spelling)
        return list(encode(text)) if text else []


def _texts(value: Any) -> Iterator[str]:
    """The texts in a value, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(name)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
