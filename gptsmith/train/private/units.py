"""Datasets unit by unit: the example or the document that a private model may not give away."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch

from gptsmith.base.errors import UserError
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import Dataset
from gptsmith.train.datasets.examples import ExampleDataset
from gptsmith.train.datasets.rows import Rows
from gptsmith.train.datasets.text import TextDataset
from gptsmith.train.datasets.wrapped import WrappedDataset

MIN_UNITS = 100
"""Among fewer, noise that hides one of them hides all that they have in common."""


class UnitDataset(WrappedDataset):
    """A dataset whose samples are its units, each with batches of its own.

    Attributes:
        name: a unit, in a word.
    """

    name: ClassVar[str]

    def __init__(self, data: Dataset, tokens_of_units: np.ndarray) -> None:
        """
        Args:
            tokens_of_units: the number of tokens of each unit (N,).
        """
        super().__init__(data)
        self.num_samples, self.tokens_per_sample = len(tokens_of_units), float(tokens_of_units.mean())

    def num_tokens_of(self, first_sample: int, num_samples: int) -> float:
        return num_samples * self.tokens_per_sample  # those of the units at hand are a secret

    @abstractmethod
    def unit(self, number: int) -> list[Batch]:
        """The batches of a unit, each of a single row."""

    @property
    def has_plain_rows(self) -> bool:
        """Whether a row is tokens and targets alone, so that others can be made up."""
        return type(self.unit(0)[0]) is Batch

    def batches(
        self,
        model: GPT,
        first_sample: int,
        num_samples: int,
        micro_batch_size: int,
        processes: Processes = SINGLE_PROCESS,
    ) -> list[Batch]:
        """The batches of units in their order."""
        numbers = (sample % self.num_samples for sample in range(first_sample, first_sample + num_samples))
        return [batch.to(model.device) for number in numbers for batch in self.unit(number)]


class ExampleUnits(UnitDataset):
    """Examples: an example that is split into several samples is one unit."""

    name = "example"

    def __init__(self, data: ExampleDataset) -> None:
        samples = data.train.samples
        examples = np.array([samples.example_number(number) for number in range(len(samples))])
        ends = np.flatnonzero(np.diff(examples, append=-1)) + 1
        self.units = Rows(samples, data.splits.train, np.arange(len(samples)), ends)
        self.units.references = data.train.references
        super().__init__(data, self.units.num_tokens_of)
        self.objective = data.objective

    def unit(self, number: int) -> list[Batch]:
        return [self.objective.collate([[sample]]) for sample in self.units[number]]


class DocumentUnits(UnitDataset):
    """Documents: a unit is all windows of one, and of a long one those of its first tokens."""

    name = "document"

    def __init__(self, data: TextDataset, max_tokens: int) -> None:
        self.stream, self.context_length = data.data.train, data.windows.context_length
        self.ends = np.asarray(self.stream.document_ends, np.int64)
        lengths = np.diff(self.ends, prepend=0)
        self.num_cut, self.max_tokens = int((lengths > max_tokens).sum()), max_tokens
        super().__init__(data, np.minimum(lengths, max_tokens))

    def unit(self, number: int) -> list[Batch]:
        start = int(self.ends[number - 1]) if number else 0
        stop = min(int(self.ends[number]), start + self.max_tokens)
        # The token before a document is the one that ends the document before, and the same for all.
        tokens = torch.from_numpy(self.stream.slice(start - 1, stop, circular=True))[None]
        places = range(0, stop - start, self.context_length)
        windows = [tokens[:, place : place + self.context_length + 1] for place in places]
        return [Batch(window[:, :-1], window[:, 1:]) for window in windows]

    def description(self) -> list[str]:
        lines = self.data.description()
        if self.num_cut:
            lines.append(
                f"{self.num_cut:,} documents are longer than {self.max_tokens:,} tokens: only the beginning of each is "
                "learnt (train.private.max_unit_tokens)"
            )
        return lines


def units_of(dataset: Dataset, max_unit_tokens: int) -> UnitDataset:
    """A dataset of examples or of text, unit by unit.

    Raises:
        UserError: it has too few units.
    """
    if isinstance(dataset, TextDataset):
        units: UnitDataset = DocumentUnits(dataset, max_unit_tokens)
    else:
        assert isinstance(dataset, ExampleDataset), "an objective that is separable"
        units = ExampleUnits(dataset)
    require_units(units.num_samples, units.name)
    return units


def require_units(num_units: int, name: str) -> None:
    """Checks that there are enough units.

    Raises:
        UserError: there are not.
    """
    if num_units < MIN_UNITS:
        raise UserError(
            f"--private needs at least {MIN_UNITS} {name}s, and there are {num_units}: noise that hides one of so few "
            "hides what they have in common too"
        )
