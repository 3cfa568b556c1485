"""Packing: nothing is lost, rows are full, and the work grows with the number of samples and not faster."""

from __future__ import annotations

import math
import sys
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch

from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.model.layout import LENGTH_MULTIPLE, PackedSequences
from gptsmith.model.presets import preset
from gptsmith.text.chat_template import Encoded
from gptsmith.train.samples import LEAST_ROWS, ROW_MULTIPLE, ROW_TOKENS, Sample, pack, packed_batch

CONTEXT = 256


def samples_of(lengths: list[int]) -> list[Sample]:
    return [Sample(str(number), [Encoded([0] * length, [])]) for number, length in enumerate(lengths)]


def drawn(count: int, seed: int = 0) -> list[Sample]:
    lengths = np.random.default_rng(seed).gamma(5, 20, count).astype(int).clip(10, CONTEXT)
    return samples_of(lengths.tolist())


def lengths_of(rows: list[list[Sample]]) -> list[list[int]]:
    return sorted(sorted((sample.num_tokens for sample in row), reverse=True) for row in rows)


def test_a_sample_goes_where_the_least_room_is_left() -> None:
    filler = [10] * (10 * LEAST_ROWS - 3)  # full rows, so that rows of 10 tokens are wanted
    rows = lengths_of(pack(samples_of([7, 6, 4, 3, *filler, 10]), 10))
    assert [row for row in rows if row != [10]] == [[6, 4], [7, 3]]


def test_no_sample_is_lost_and_the_rows_are_nearly_full() -> None:
    samples = drawn(4000)
    rows = pack(samples, CONTEXT)
    assert sorted(int(sample.place) for row in rows for sample in row) == list(range(4000))
    assert max(sum(sample.num_tokens for sample in row) for row in rows) <= CONTEXT
    assert len(rows) <= 1.01 * math.ceil(sum(sample.num_tokens for sample in samples) / CONTEXT)


def test_a_sample_that_is_longer_than_a_row_has_one_to_itself() -> None:
    rows = pack([*samples_of([ROW_TOKENS + 500]), *drawn(3000)], 10**6)
    sizes = sorted(sum(sample.num_tokens for sample in row) for row in rows)
    assert sizes[-1] == ROW_TOKENS + 500
    assert sizes[-2] <= ROW_TOKENS


@pytest.mark.parametrize("count", [1, 5, 16, 31])
def test_few_samples_are_many_rows(count: int) -> None:
    assert len(pack(samples_of([20] * count), CONTEXT)) == count


def num_lines_run(count: int) -> int:
    """The lines of Python that packing so many samples runs."""
    samples, lines = drawn(count), 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        pack(samples, CONTEXT)
    finally:
        sys.settrace(before)
    return lines


def test_the_work_of_packing_grows_with_the_number_of_samples() -> None:
    assert num_lines_run(4000) < 2.2 * num_lines_run(2000)


def test_rows_of_many_lengths_have_few_shapes() -> None:
    """PyTorch keeps a program for each shape of a product: rows of any length would take more memory step by step."""
    samples = [Sample("", [Encoded([5] * sample.num_tokens, [True] * sample.num_tokens)]) for sample in drawn(60)]
    for row in pack(samples, CONTEXT):
        batch, num_tokens = packed_batch([row]), sum(sample.num_tokens for sample in row)
        assert batch.segments is not None
        assert batch.input_ids.shape[1] % ROW_MULTIPLE == 0
        assert all(each.shape[1] % LENGTH_MULTIPLE == 0 for each in PackedSequences.of(batch.segments).batches)
        assert (batch.targets[:, num_tokens:] == IGNORED).all()
        assert batch.num_tokens == num_tokens - len(row)


def test_what_fills_a_row_up_changes_nothing_and_needs_no_context() -> None:
    shape = {"embed_dim": 32, "num_layers": 2, "num_heads": 2, "head_dim": 16, "vocab_size": 40}
    model = GPT(preset("smith", **shape, context_length=20, init="gpt2"), seed=1).double()
    ids = torch.arange(20)
    batch = packed_batch([[Sample("", [Encoded(ids.tolist(), [True] * 20)])]])
    assert batch.input_ids.shape == (1, ROW_MULTIPLE)
    found = model.hidden(batch.input_ids, segments=batch.segments)[:, :20]
    torch.testing.assert_close(found, model.hidden(ids[None]), rtol=0, atol=1e-12)
