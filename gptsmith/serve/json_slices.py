"""JSON of large answers, written in slices, so that no thread waits long for the interpreter's lock."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from pydantic_core import to_json

SLICE = 100
"""Items of a list that are written at once. The largest, tokens with twenty alternatives, take some milliseconds."""

_written = partial(to_json, inf_nan_mode="null")


def json_bytes(value: Any) -> bytes:
    """A value as compact JSON; numbers that are not finite, which JSON lacks, are null."""
    return b"".join(_slices(value))


def _slices(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict) and _has_long_list(value):
        before = b"{"
        for key, item in value.items():
            yield before + _written(str(key)) + b":"
            yield from _slices(item)
            before = b","
        yield b"}"
    elif isinstance(value, list) and any(map(_has_long_list, value[:1])):
        before = b"["
        for item in value:
            yield before
            yield from _slices(item)
            before = b","
        yield b"]"
    elif isinstance(value, list) and len(value) > SLICE:
        before = b"["
        for start in range(0, len(value), SLICE):
            yield before + _written(value[start : start + SLICE])[1:-1]
            before = b","
        yield b"]"
    else:
        yield _written(value)


def _has_long_list(value: Any) -> bool:
    """Whether a list with many items is somewhere within a value. The items of a list are alike: the first one says it
    for all."""
    if isinstance(value, dict):
        return any(map(_has_long_list, value.values()))
    return isinstance(value, list) and (len(value) > SLICE or any(map(_has_long_list, value[:1])))
