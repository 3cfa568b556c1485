"""The training order and the windows of an evaluation."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gptsmith.data.shards import TokenStream
from gptsmith.data.windows import IGNORED, Windows, evaluation_windows


class Ring(TokenStream):
    """A stream whose token at every position is that position."""

    def __init__(self, size: int) -> None:
        self.files = [{"name": "all"}, {"name": "documents"}]
        self._shards = {0: np.arange(size)}
        self.starts = np.array([0, size])


@settings(derandomize=True, deadline=None, max_examples=150)
@given(size=st.integers(1, 60), context=st.integers(1, 25), seed=st.integers(0, 9), batch_size=st.integers(1, 9))
def test_every_target_comes_exactly_once_an_epoch(size: int, context: int, seed: int, batch_size: int) -> None:
    windows = Windows(Ring(size), context, seed)
    assert windows.num_windows == -(-size // context)
    rows = []
    for first in range(0, 3 * windows.num_windows + batch_size, batch_size):
        input_ids, targets = windows.batch(first, batch_size)
        assert input_ids.shape == targets.shape == (batch_size, context)
        assert input_ids.dtype == targets.dtype == np.int64
        scored = targets != IGNORED
        assert (input_ids[scored] == (targets[scored] - 1) % size).all()
        rows += list(targets)
    for epoch in range(3):
        targets = np.concatenate(rows[epoch * windows.num_windows : (epoch + 1) * windows.num_windows])
        assert sorted(targets[targets != IGNORED]) == list(range(size))


def test_a_sample_is_a_pure_function_of_its_number() -> None:
    in_order = Windows(Ring(1000), 7, 3)
    samples = [in_order.batch(number, 1)[1][0].tolist() for number in range(500)]
    again = Windows(Ring(1000), 7, 3)
    for number in (499, 0, 143, 142, 286, 3):
        assert again.batch(number, 1)[1][0].tolist() == samples[number]
    assert again.batch(140, 10)[1].tolist() == samples[140:150]
    assert Windows(Ring(1000), 7, 4).batch(0, 20)[1].tolist() != samples[:20]


def test_epochs_cut_elsewhere_and_visit_in_another_order() -> None:
    windows = Windows(Ring(1000), 10, 1)
    epochs = [windows.batch(epoch * 100, 100)[1] for epoch in range(5)]
    assert len({epoch[:, 0].tobytes() for epoch in epochs}) == 5
    assert len({int(epoch[0, 0]) % 10 for epoch in epochs}) > 1
    for epoch in epochs:
        assert not (np.diff(epoch[:, 0]) == 10).all()


@settings(derandomize=True, deadline=None, max_examples=100)
@given(size=st.integers(1, 80), context=st.integers(1, 25), batch_size=st.integers(1, 9))
def test_an_evaluation_scores_every_token_once_in_order(size: int, context: int, batch_size: int) -> None:
    scored: list[int] = []
    for input_ids, targets in evaluation_windows(Ring(size), context, batch_size):
        assert input_ids.shape == targets.shape
        assert len(targets) <= batch_size
        mask = targets != IGNORED
        assert (input_ids[mask] == (targets[mask] - 1) % size).all()
        scored += targets[mask].tolist()
    assert scored == list(range(size))


@settings(derandomize=True, deadline=None, max_examples=100)
@given(size=st.integers(1, 500), context=st.integers(1, 25), most=st.integers(1, 600))
def test_a_capped_evaluation_is_spread_evenly(size: int, context: int, most: int) -> None:
    batches = [targets for _, targets in evaluation_windows(Ring(size), context, 4, most)]
    scored = [int(token) for targets in batches for token in targets.ravel() if token != IGNORED]
    assert scored == sorted(set(scored))
    assert len(scored) <= max(most, context)
    assert len(scored) >= min(size, max(1, most // context) * context) - context + 1
    thirds = Counter(token * 3 // size for token in scored)
    assert max(thirds.values()) - min(thirds[third] for third in range(3)) <= 3 * context
