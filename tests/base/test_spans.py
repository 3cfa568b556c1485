"""Spans without overlaps are those that trying each against all before it gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gptsmith.base.spans import without_overlaps

SPANS = st.lists(st.builds(lambda start, size: (start, start + size), st.integers(0, 40), st.integers(1, 9)))


@given(SPANS)
def test_a_span_stays_that_overlaps_none_before_it(preferred: list[tuple[int, int]]) -> None:
    kept: list[tuple[int, int]] = []
    for start, stop in preferred:
        if all(stop <= other or start >= end for other, end in kept):
            kept.append((start, stop))
    assert without_overlaps(preferred, lambda span: span) == sorted(kept)
