"""Encodings of text, by the names that Python has for them."""

from __future__ import annotations

import codecs

from gptsmith.base.errors import DataError

# Python's codecs for names of the network and for source text, which no file of text is in.
NOT_OF_FILES = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"})


def text_encoding(name: str) -> str:
    """The codec's own name for an encoding of text.

    Raises:
        DataError: there is no such encoding.
    """
    try:
        codec = codecs.lookup(name)
        if codec.name in NOT_OF_FILES or codec.incrementaldecoder is None:
            raise LookupError
        "a".encode(name)
    except (LookupError, ValueError):
        raise DataError(
            f"no such encoding: {name} (allowed are Python's, such as utf-8, cp1252, latin-1, utf-16, shift_jis, "
            "gb18030)"
        ) from None
    return codec.name
