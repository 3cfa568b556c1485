"""JSON that somebody else wrote, read within bounds: of depth, of size, and of numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Far more than people nest, and far less than what a recursion over the values can follow."""
MAX_BYTES = 256_000_000
"""A JSON text is parsed as a whole, in several times its size of memory."""
MAX_BITS = 996
"""Of an integer: as many as 300 digits have, which a float can hold."""
UNUSUAL_NUMBER = re.compile(r"\d{300}|\d[eE]\+?\d{3}|NaN|Infinity")
SEPARATORS = re.compile(r"[\s,]*")


def parse_json(text: str, *, nan_is_null: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        nan_is_null: whether NaN and infinities, which some programs write, are read as null, instead of refused.

    Raises:
        ValueError: it is not JSON, nested too deeply, too large, or has a number that no float can hold; the message is
            short.
    """
    _check_size(text)
    try:
        value = _decoder(text, nan_is_null).decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_depth(text, value)
    return value


def parse_json_sequence(text: str, *, nan_is_null: bool = False) -> Iterator[tuple[Any, int]]:
    """The values of several JSON texts one after another, with spaces, line ends or commas between them, each with the
    position at which it starts.

    Raises:
        ValueError: as `parse_json` does.
    """
    _check_size(text)
    decoder = _decoder(text, nan_is_null)
    position = SEPARATORS.match(text).end()  # type: ignore[union-attr]  # it matches the empty string
    while position < len(text):
        try:
            value, end = decoder.raw_decode(text, position)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        _check_depth(text[position:end], value)
        yield value, position
        position = SEPARATORS.match(text, end).end()  # type: ignore[union-attr]


def _decoder(text: str, nan_is_null: bool) -> json.JSONDecoder:
    if UNUSUAL_NUMBER.search(text) is None:
        return json.JSONDecoder()

    def constant(name: str) -> None:
        if not nan_is_null:
            raise ValueError(f"{name} is no number of JSON")

    def too_large(written: str) -> NoReturn:
        raise ValueError(f"the number {written[:20]}... is too large")

    def integer(written: str) -> int:
        return int(written) if len(written) <= 300 else too_large(written)

    def number(written: str) -> float:
        value = float(written)
        return value if math.isfinite(value) else too_large(written)

    return json.JSONDecoder(parse_constant=constant, parse_int=integer, parse_float=number)


def _check_size(text: str) -> None:
    if len(text) > MAX_BYTES:
        raise ValueError(f"{len(text):,} characters are too many for one JSON text")


def require_bounded_values(value: Any) -> None:
    """Checks what a reader without bounds has read: depth, and numbers that a float can hold.

    Raises:
        ValueError: it is nested too deeply, or a number is too large.
    """
    _require_depth(value)
    rest = [value]
    while rest:
        inner = rest.pop()
        if isinstance(inner, dict | list):
            rest += inner.values() if isinstance(inner, dict) else inner
        elif isinstance(inner, int) and inner.bit_length() > MAX_BITS:
            raise ValueError("a number is too large")


def _check_depth(text: str, value: Any) -> None:
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _require_depth(value)


def _require_depth(value: Any) -> None:
    """Checks that values are not nested deeper than `MAX_DEPTH`, without recursion."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return
    raise ValueError("nested too deeply")
