"""Text as its letters and digits alone: what is left of a passage however it is spaced, cased and punctuated."""

from __future__ import annotations

import codecs
import unicodedata


class _Letters(dict[int, str]):
    """What each character becomes, found when it is first asked for."""

    def __missing__(self, code: int) -> str:
        plain = unicodedata.normalize("NFKD", chr(code)).casefold()
        self[code] = found = "".join(character for character in plain if character.isalnum())
        return found


_LETTERS = _Letters()


def letters(text: str) -> str:
    """The letters and digits of a text, in lower case and without accents."""
    return text.translate(_LETTERS)


def next_letters(begun: bytes, data: bytes) -> tuple[bytes, bytes]:
    """The letters and digits of a part of a text in UTF-8, which may begin and end inside of a character; and what it
    begins of a character at its end.

    Args:
        begun: what the part before it began.
    """
    whole = begun + data
    text, consumed = codecs.utf_8_decode(whole, "replace", False)
    return letters(text).encode("utf-8", "ignore"), whole[consumed:]
