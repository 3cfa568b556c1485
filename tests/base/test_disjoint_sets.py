"""Disjoint sets beside sets of Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.base.disjoint_sets import DisjointSets


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20))
def test_joined_numbers_share_the_smallest_of_their_set(pairs: list[tuple[int, int]]) -> None:
    sets, plain = DisjointSets(12), [{number} for number in range(12)]
    for one, other in pairs:
        sets.join(one, other)
        joined = plain[one] | plain[other]
        for number in joined:
            plain[number] = joined
    expected = [min(each) for each in plain]
    assert sets.firsts(np.array([3, 3, 11])).tolist() == [expected[3], expected[3], expected[11]]
    assert sets.firsts().tolist() == expected
    assert [sets.first(number) for number in range(12)] == expected
