"""Lengths, tries and thresholds, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gptsmith.data.suffix_array import SuffixArray, suffix_array
from gptsmith.privacy import repeats
from gptsmith.privacy.recitable import (
    CAUTIOUS_TOKENS,
    MIN_TOKENS,
    Runs,
    passages_of,
    threshold_of,
)
from gptsmith.privacy.repeats import REPEATED_TOKENS, repeated
from gptsmith.privacy.scan import Scan

SEPARATOR = 999


def text_of(*documents: list[int]) -> tuple[SuffixArray, np.ndarray]:
    tokens = np.array([token for document in documents for token in [*document, SEPARATOR]], np.uint16)
    return suffix_array(tokens, SEPARATOR), np.cumsum([len(document) + 1 for document in documents])


def scan_of(tokens: np.ndarray, *right: tuple[int, int]) -> Scan:
    is_right = np.zeros(len(tokens), bool)
    for start, stop in right:
        is_right[start:stop] = True
    log_probabilities = np.where(tokens == SEPARATOR, np.nan, np.where(is_right, -0.1, -5.0)).astype(np.float32)
    return Scan(tokens, log_probabilities, is_right)


def runs_of(scan: Scan, ends: np.ndarray, reach: int) -> Runs:
    return Runs.of(scan, repeated(scan.tokens, ends, reach))


def fresh(length: int, begin: int = 0) -> list[int]:
    """Tokens of which no eight are the same."""
    return [(begin + number) % 900 for number in range(length)]


def test_log_probabilities_are_sums() -> None:
    array, _ = text_of(fresh(40))
    scan = scan_of(array.tokens, (5, 20))
    found = scan.log_probabilities_of(np.array([5, 0]), np.array([20, 6]))
    assert found == pytest.approx([-1.5, -25.1], rel=1e-5)


@pytest.mark.parametrize("block", [16, 1 << 22])
def test_what_stands_in_the_prompt_already_is_not_known(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "BLOCK_TOKENS", block)
    first = fresh(30)
    array, ends = text_of([*first, *fresh(5, 500), *first[10:25]], first)
    found = repeated(array.tokens, ends, reach=40)
    assert np.flatnonzero(found).tolist() == list(range(35, 50)), "the other document is not the prompt"
    assert not repeated(array.tokens, ends, reach=20).any(), "too far away to be in the prompt"
    runs = runs_of(scan_of(array.tokens, (2, 20), (33, 50)), ends, 40)
    assert runs.lengths.tolist() == [18, 2]
    assert REPEATED_TOKENS <= 15


def test_copies_are_one_passage_although_their_edges_differ() -> None:
    secret = fresh(24, 300)
    array, ends = text_of([1, 2, *secret, 3], [4, *secret, 5, 6], [7, 8, 9, *secret], fresh(40, 600))
    starts = [2, 28, 57]
    runs = runs_of(scan_of(array.tokens, (1, 26), (29, 54), (60, 80), (90, 105)), ends, 40)
    found = passages_of(scan_of(array.tokens), runs, array)
    assert [(each.num_copies, each.num_tokens) for each in found] == [(3, 25), (1, 15)]
    assert starts[0] - 1 == found[0].start


def test_the_threshold_is_the_shortest_length_that_is_never_right_by_chance() -> None:
    learnt = fresh(60)
    array, _ = text_of(learnt)
    held_out, ends = text_of([*fresh(5_000, 100), *learnt[:50], *fresh(900, 100)])
    # 14 by chance; 40 that stand in the training text, and are no chance
    runs = runs_of(scan_of(held_out.tokens, (200, 214), (5_005, 5_045)), ends, 100)
    found = threshold_of(scan_of(held_out.tokens), runs, array, num_read=10_000, bytes_per_token=4)
    assert (found.num_tokens, found.longest_held_out) == (15, 14)
    short = runs_of(scan_of(held_out.tokens, (200, 207), (5_005, 5_045)), ends, 100)
    below = threshold_of(scan_of(held_out.tokens), short, array, num_read=10_000, bytes_per_token=4)
    assert (below.num_tokens, below.longest_held_out) == (MIN_TOKENS, 7)
    nothing = threshold_of(scan_of(held_out.tokens), runs.at_least(99), array, num_read=10_000, bytes_per_token=4)
    assert (nothing.num_tokens, nothing.longest_held_out, nothing.expected_by_chance) == (MIN_TOKENS, 0, 0)


def test_without_held_out_text_the_threshold_is_cautious() -> None:
    array, _ = text_of(fresh(60))
    held_out, ends = text_of(fresh(100))
    runs = runs_of(scan_of(held_out.tokens), ends, 50)
    found = threshold_of(scan_of(held_out.tokens), runs, array, num_read=60, bytes_per_token=4)
    assert (found.num_tokens, found.longest_held_out) == (CAUTIOUS_TOKENS, None)
    letters = threshold_of(scan_of(held_out.tokens), runs, array, num_read=60, bytes_per_token=1)
    assert letters.num_tokens == 100


def test_the_tail_of_held_out_text_says_how_many_are_chance() -> None:
    """Lengths of a geometric distribution: a text ten times as long has about ten more than the longest."""
    generator = np.random.default_rng(5)
    lengths = MIN_TOKENS + generator.geometric(0.3, 400)
    tokens = np.zeros(int(lengths.sum()) + 10_000, np.uint16)
    stops = np.cumsum(lengths)
    runs = Runs(stops - lengths, stops, lengths)
    array, _ = text_of(fresh(60))
    held_out = Scan(tokens + 950, np.zeros(len(tokens), np.float32), np.zeros(len(tokens), bool))
    found = threshold_of(held_out, runs, array, num_read=10 * len(tokens), bytes_per_token=4)
    true = 10 * 400 * 0.7 ** (found.num_tokens - MIN_TOKENS - 1)
    assert found.expected_by_chance == pytest.approx(true, rel=1.0)
    assert (found.expected_by_chance or 0) > 1
