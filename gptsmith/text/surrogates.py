"""Refusal of half surrogate pairs."""

from __future__ import annotations

from gptsmith.base.errors import DataError


def refuse_surrogates(text: str) -> None:
    """Refuse text with half a surrogate pair.

    Raises:
        DataError: there is half of a surrogate pair.
    """
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise DataError(
            f"character {error.start} of the text is U+{code:04X}, half of a surrogate pair and no character: remove it"
        ) from None
