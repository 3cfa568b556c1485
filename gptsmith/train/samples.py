"""Samples of token sequences to the rows of a batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gptsmith.data.windows import IGNORED
from gptsmith.text.chat_template import Encoded
from gptsmith.train.batch import Batch


@dataclass
class Sample:
    """An example as token sequences: one, a pair, or one for each choice."""

    place: str
    """Where a person finds its example; empty if the sample was read back from a dataset, whose `origin` says it."""
    sequences: list[Encoded]
    label: int = 0
    reference: tuple[float, ...] = ()
    """The log-likelihood of each sequence under the reference model, if the objective compares with it."""
    num_omitted: int = 0
    """The oldest turns of the conversation that were left out, because the context has no room for them."""
    num_truncated: int = 0
    """The tokens at the ends of its texts that were cut off for the same reason."""
    part: int = 0
    """The number of the sample, if its example makes several."""

    @property
    def num_tokens(self) -> int:
        return sum(len(sequence.ids) for sequence in self.sequences)


def padded(sequences: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
    """Input ids and targets (B, T), padded on the right, where causal attention needs no mask for it."""
    length = max(len(sequence.ids) for sequence in sequences)
    input_ids = np.zeros((len(sequences), length), np.int64)
    targets = np.full((len(sequences), length), IGNORED, np.int64)
    for row, sequence in enumerate(sequences):
        _lay(sequence, input_ids[row], targets[row])
    return torch.from_numpy(input_ids), torch.from_numpy(targets)


ROW_MULTIPLE = 32
"""Packed rows are filled up to a multiple of so many tokens: PyTorch's products keep a program of their own for every
shape that they have seen, a hundred kilobytes or so, for good."""


def packed_batch(rows: Sequence[Sequence[Sample]]) -> Batch:
    """A batch whose rows each hold several sequences, one after the other, that do not see each other. What fills them
    up is a sequence that teaches nothing."""
    longest = max(sum(sample.num_tokens for sample in row) for row in rows)
    length = -(-longest // ROW_MULTIPLE) * ROW_MULTIPLE
    input_ids = np.zeros((len(rows), length), np.int64)
    targets = np.full((len(rows), length), IGNORED, np.int64)
    segments = np.zeros((len(rows), length), np.int64)
    for row, samples in enumerate(rows):
        start = 0
        sequences = [sequence for sample in samples for sequence in sample.sequences]
        for number, sequence in enumerate(sequences, 1):
            stop = start + len(sequence.ids)
            _lay(sequence, input_ids[row, start:stop], targets[row, start:stop])
            segments[row, start:stop] = number
            start = stop
    return Batch(torch.from_numpy(input_ids), torch.from_numpy(targets), torch.from_numpy(segments))


def _lay(sequence: Encoded, input_ids: np.ndarray, targets: np.ndarray) -> None:
    """Writes a sequence: the target of a position is the next token, if a model is trained to write that."""
    ids = np.array(sequence.ids)
    input_ids[: len(ids)] = ids
    targets[: len(ids) - 1] = np.where(np.array(sequence.trained[1:], bool), ids[1:], IGNORED)


ROW_TOKENS = 512
"""Rows are no longer than this unless one sample is: the least memory of a step grows with them, and longer ones are
hardly faster (LOG.md)."""
LEAST_ROWS = 16
"""Few samples are packed into no fewer rows than this, so that an epoch of them still has steps."""


def pack(lengths: np.ndarray, context_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of so many tokens (N,) in rows of at most `context_length` tokens, best-fit-decreasing (Johnson 1974): no
    token is lost.

    The time is that of sorting the samples: a row with the least room that is enough is found by the lowest bit of the
    rooms that there are, however many rows there are.

    Returns:
        the numbers of the samples row by row (N,), and for each row how many of them there are up to its end (R,).
    """
    room_at_most = min(context_length, ROW_TOKENS, int(lengths.sum()) // LEAST_ROWS)
    num_rows = 0
    with_room: dict[int, list[int]] = defaultdict(list)
    """The rows that have so much room."""
    rooms = 0
    """Bit r is set if there is a row with room for r tokens."""
    order = np.argsort(-lengths, kind="stable")
    row_of = np.empty(len(lengths), np.int64)
    for number, sample in enumerate(order):
        length = int(lengths[sample])
        if enough := rooms >> length:
            room = length + (enough & -enough).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, row = max(room_at_most, length), num_rows
            num_rows += 1
        row_of[number] = row
        if left := room - length:
            with_room[left].append(row)
            rooms |= 1 << left
    return order[np.argsort(row_of, kind="stable")], np.bincount(row_of, minlength=num_rows).cumsum()
