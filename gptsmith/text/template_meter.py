"""The limits of a chat template, which comes with a model and may be anybody's program.

Every operation of a template is counted in units: a character that it makes or reads is one, a loop's step, a call and
a value in a list are `NODE` each. A limit in units is the same on every machine; the time of the thread is a second
one, for conversations so long that their limit in units is far away.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import TemplateError

NODE = 16
LARGEST_VALUE, LARGEST_VALUE_PER_CHARACTER = 2_000_000, 16
WORK_PER_VALUE = 32
LIMIT_S = 10.0
OPERATIONS_PER_LOOK = 256
"""Operations between two looks at the clock."""
MAX_INTEGER_BITS = 100_000


class TemplateLimitError(TemplateError):
    """A template makes something too large, or does too much."""


def is_iterator(value: Any) -> bool:
    """Whether a value is one of Python's own iterators, which gives its values once; Jinja's loops are not."""
    return isinstance(value, Iterator) and type(value).__module__ == "builtins"


class Meter:
    """What one rendering may still do.

    Attributes:
        largest: the largest size of a value, in units: a text, or a list with all that it holds.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.largest = 1 << 62
        self.largest = LARGEST_VALUE + LARGEST_VALUE_PER_CHARACTER * self.size(given)
        self._left = self._work = WORK_PER_VALUE * self.largest
        self._until_look = OPERATIONS_PER_LOOK
        self._end_s = time.thread_time() + LIMIT_S

    def spend(self, units: int) -> None:
        """Counts an operation.

        Raises:
            TemplateLimitError: it was one too many, or the time is over.
        """
        self._left -= units + NODE
        self._until_look -= 1
        if self._left < 0:
            raise TemplateLimitError(f"it does more work than {self._work:,} characters need")
        if self._until_look <= 0:
            self._until_look = OPERATIONS_PER_LOOK
            if time.thread_time() > self._end_s:
                raise TemplateLimitError(f"it works for more than {LIMIT_S:g} seconds")

    def require(self, size: int) -> None:
        """Checks the size of a value before it is made.

        Raises:
            TemplateLimitError: it is too large.
        """
        if size > self.largest:
            raise TemplateLimitError(f"it makes something larger than {self.largest:,} characters")

    def size(self, value: Any) -> int:
        """The size of a value with all that it holds, in units; what it holds twice counts twice.

        Raises:
            TemplateLimitError: it is too large.
        """
        if isinstance(value, str):
            self.require(len(value))
            return len(value)
        if value is None or isinstance(value, bool):
            return 0
        total, rest = 0, [value]
        while rest:
            inner = rest.pop()
            if isinstance(inner, str | bytes):
                total += len(inner)
            elif isinstance(inner, int):
                if inner.bit_length() > MAX_INTEGER_BITS:
                    raise TemplateLimitError(f"it makes a number of more than {MAX_INTEGER_BITS:,} bits")
            elif isinstance(inner, dict):
                total += 2 * NODE * len(inner)
                self.require(total)
                rest += inner
                rest += inner.values()
            elif isinstance(inner, list | tuple | set | frozenset):
                total += NODE * len(inner)
                self.require(total)
                rest += inner
            self.require(total)
        return total

    def count(self, value: Any) -> Any:
        """A value that a template made, counted; an iterator counts what it gives.

        Raises:
            TemplateLimitError: it is too large, or one too many.
        """
        if is_iterator(value):
            return self._counted(value)
        self.spend(self.size(value))
        return value

    def _counted(self, values: Iterator[Any]) -> Iterator[Any]:
        total = 0
        for value in values:
            size = NODE + self.size(value)
            total += size
            self.require(total)
            self.spend(size)
            yield value
