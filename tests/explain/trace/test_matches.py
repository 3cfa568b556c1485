"""The passages that are taken are those that a search by hand takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gptsmith.data.suffix_array import suffix_array
from gptsmith.explain.trace.matches import find_matches
from gptsmith.provenance.held_out import LONGEST, held_out_matches

SEPARATOR = 0
TOKENS = st.lists(st.integers(1, 3), max_size=25)
TEXTS = st.lists(TOKENS, min_size=1, max_size=3)


def tokens_of(texts: list[list[int]]) -> np.ndarray:
    return np.array([token for text in texts for token in [*text, SEPARATOR]], np.uint16)


def stands_in(texts: list[list[int]], wanted: list[int]) -> int:
    return sum(text[at : at + len(wanted)] == wanted for text in texts for at in range(len(text) - len(wanted) + 1))


def taken_by_hand(
    texts: list[list[int]], query: list[int], start: int, stop: int, fewest: int
) -> list[tuple[int, int]]:
    """The longest first, by trying every span; then what is left on either side."""
    spans = ((first, last) for first in range(start, stop) for last in range(first + fewest, stop + 1))
    found = [span for span in spans if stands_in(texts, query[slice(*span)])]
    if not found:
        return []
    first, last = min(found, key=lambda span: (span[0] - span[1], span[0]))
    left, right = (taken_by_hand(texts, query, *gap, fewest) for gap in ((start, first), (last, stop)))
    return [*left, (first, last), *right]


@settings(max_examples=50)
@given(TEXTS, TEXTS, TOKENS, st.integers(1, 4))
def test_passages_are_those_of_a_search_by_hand_in_all_texts(
    texts: list[list[int]], others: list[list[int]], query: list[int], fewest: int
) -> None:
    arrays = [suffix_array(tokens_of(each), SEPARATOR) for each in (texts, others)]
    found = find_matches(arrays, np.array(query, np.int64), fewest)
    assert [(match.start, match.stop) for match in found] == taken_by_hand(
        [*texts, *others], query, 0, len(query), fewest
    )
    for match in found:
        assert match.num_copies == stands_in([*texts, *others], query[match.start : match.stop])


def test_shares_of_held_out_places_are_counted(tmp_path: Path) -> None:
    array = suffix_array(tokens_of([[1, 2, 3, 4]]), SEPARATOR)
    held_out = tokens_of([[1, 2, 3], [9, 3, 4, 9]])
    # The longest matches from each place: 3 2 1, and 0 2 1 0.
    matches = held_out_matches(array, held_out, tmp_path / "kept.json")
    assert matches is not None
    assert [round(7 * matches.share(length)) for length in range(5)] == [7, 5, 3, 1, 0]
    assert [matches.rarer_than(share) for share in (0.8, 0.5, 0.2, 0.0)] == [1, 2, 3, 4]
    (tmp_path / "kept.json").write_text('{"counts": [1]}', encoding="utf-8")  # damaged: counted again
    again = held_out_matches(array, held_out, tmp_path / "kept.json")
    assert again is not None
    assert again.counts.tolist() == matches.counts.tolist()
    assert held_out_matches(array, held_out[:0]) is None
    everything = held_out_matches(array, tokens_of([[1, 2, 3, 4]] * 9))
    assert everything is not None
    assert everything.rarer_than(0.0) <= LONGEST
