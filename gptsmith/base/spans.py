"""Spans that do not overlap."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def without_overlaps(preferred: Iterable[T], bounds: Callable[[T], tuple[int, int]]) -> list[T]:
    """Those of some spans that overlap none that is preferred to them, in order.

    Args:
        preferred: the spans, the best ones first.
        bounds: the start of a span and the place behind its end.
    """
    kept: list[T] = []
    for span in preferred:
        start, stop = bounds(span)
        place = bisect(kept, start, key=lambda one: bounds(one)[0])
        is_free = not place or bounds(kept[place - 1])[1] <= start
        if is_free and (place == len(kept) or stop <= bounds(kept[place])[0]):
            kept.insert(place, span)
    return kept
