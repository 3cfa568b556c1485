"""Functions whose result is a future."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def without_stop_iteration(work: Callable[[], T]) -> Callable[[], T]:
    """The function with RuntimeError for StopIteration, which no future of asyncio can hold: whoever waits for
    one would wait for ever."""

    def checked() -> T:
        try:
            return work()
        except StopIteration as error:
            raise RuntimeError("StopIteration left a function") from error

    return checked
