"""The rows that batches of examples are made of, and the order in which they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from gptsmith.base.randomness import derived_seed
from gptsmith.data.shapes import Example
from gptsmith.train.datasets.encoded import EncodedSamples
from gptsmith.train.samples import Sample

TOKENS_PER_BATCH = 4096
"""Of an evaluation."""


class Rows(Sequence[list[Sample]]):
    """The samples of a split, in the rows that batches are made of. They are read when they are asked for: memory holds
    numbers alone, some forty bytes of each sample.

    Attributes:
        num_tokens_of: the number of tokens of each row (R,).
        references: the log-likelihoods of the sequences of all splits under the reference model, if they are known.
    """

    def __init__(self, samples: EncodedSamples, examples: Sequence[Example], numbers: np.ndarray, ends: np.ndarray):
        """
        Args:
            numbers: the numbers of the samples, row by row (N,).
            ends: how many of them there are up to the end of each row (R,).
        """
        self.samples, self._examples, self._numbers, self._ends = samples, examples, numbers, ends
        up_to = np.concatenate([[0], samples.lengths[numbers].cumsum()])
        self.num_tokens_of = np.diff(up_to[np.concatenate([[0], ends])])
        self.references: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, row: int) -> list[Sample]: ...
    @overload
    def __getitem__(self, row: slice) -> list[list[Sample]]: ...
    def __getitem__(self, row: int | slice) -> list[Sample] | list[list[Sample]]:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        return [self._sample(number) for number in self._numbers_in(row)]

    def _sample(self, number: int) -> Sample:
        sample = self.samples[number]
        if self.references is not None:
            sample.reference = tuple(float(self.references[each]) for each in self.samples.sequence_range(number))
        return sample

    def _numbers_in(self, row: int) -> list[int]:
        row = range(len(self))[row]
        numbers: list[int] = self._numbers[self._ends[row - 1] if row else 0 : self._ends[row]].tolist()
        return numbers

    def places(self, row: int) -> list[str]:
        """Where a person finds the examples of a row."""
        return [self._examples[self.samples.example_number(number)].place for number in self._numbers_in(row)]

    @property
    def num_tokens(self) -> int:
        return int(self.num_tokens_of.sum())

    @property
    def num_examples(self) -> int:
        return self.samples.num_examples


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order in which an epoch visits `count` samples."""
    if (seed, epoch, count) not in _ORDERS:
        _ORDERS.clear()
        generator = np.random.Generator(np.random.PCG64(derived_seed(seed, "examples", epoch)))
        _ORDERS[seed, epoch, count] = generator.permutation(count)
    return _ORDERS[seed, epoch, count]


_ORDERS: dict[tuple[int, int, int], np.ndarray] = {}


def num_tokens_in(row: list[Sample]) -> int:
    """The number of tokens of a row."""
    return sum(sample.num_tokens for sample in row)


def evaluation_batches(numbers: Sequence[int], num_tokens_of: np.ndarray) -> Iterator[list[int]]:
    """The numbers of rows in order, as many at a time as have about `TOKENS_PER_BATCH` tokens once they are padded."""
    batch: list[int] = []
    longest = 0
    for number in numbers:
        length = max(int(num_tokens_of[number]), 1)
        if batch and max(longest, length) * (len(batch) + 1) > TOKENS_PER_BATCH:
            yield batch
            batch, longest = [], 0
        batch.append(number)
        longest = max(longest, length)
    if batch:
        yield batch
