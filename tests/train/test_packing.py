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


def drawn(count: int, seed: int = 0) -> list[int]:
    lengths: list[int] = np.random.default_rng(seed).gamma(5, 20, count).astype(int).clip(10, CONTEXT).tolist()
    return lengths


def packed(lengths: list[int], context_length: int) -> list[list[int]]:
    """The numbers of the samples in each row."""
    numbers, ends = pack(np.array(lengths), context_length)
    return [row.tolist() for row in np.split(numbers, ends[:-1])]


def test_a_sample_goes_where_the_least_room_is_left() -> None:
    filler = [10] * (10 * LEAST_ROWS - 3)  # full rows, so that rows of 10 tokens are wanted
    lengths = [7, 6, 4, 3, *filler, 10]
    rows = sorted([lengths[number] for number in row] for row in packed(lengths, 10))
    assert [row for row in rows if row != [10]] == [[6, 4], [7, 3]]


def test_no_sample_is_lost_and_the_rows_are_nearly_full() -> None:
    lengths = drawn(4000)
    rows = packed(lengths, CONTEXT)
    assert sorted(number for row in rows for number in row) == list(range(4000))
    assert max(sum(lengths[number] for number in row) for row in rows) <= CONTEXT
    assert len(rows) <= 1.01 * math.ceil(sum(lengths) / CONTEXT)


def test_a_sample_that_is_longer_than_a_row_has_one_to_itself() -> None:
    lengths = [ROW_TOKENS + 500, *drawn(3000)]
    sizes = sorted(sum(lengths[number] for number in row) for row in packed(lengths, 10**6))
    assert sizes[-1] == ROW_TOKENS + 500
    assert sizes[-2] <= ROW_TOKENS


@pytest.mark.parametrize("count", [1, 5, 16, 31])
def test_few_samples_are_many_rows(count: int) -> None:
    assert len(packed([20] * count, CONTEXT)) == count


def num_lines_run(count: int) -> int:
    """The lines of Python that packing so many samples runs."""
    lengths, lines = np.array(drawn(count)), 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        pack(lengths, CONTEXT)
    finally:
        sys.settrace(before)
    return lines


def test_the_work_of_packing_grows_with_the_number_of_samples() -> None:
    assert num_lines_run(4000) < 2.2 * num_lines_run(2000)


def test_rows_of_many_lengths_have_few_shapes() -> None:
    """PyTorch keeps a program for each shape of a product: rows of any length would take more memory step by step."""
    lengths = drawn(60)
    for numbers in packed(lengths, CONTEXT):
        row = [Sample("", [Encoded([5] * lengths[number], [True] * lengths[number])]) for number in numbers]
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
