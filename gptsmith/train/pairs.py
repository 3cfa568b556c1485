"""Pairs of completions, of which one is preferred, as batches: for the objectives that learn from preferences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from gptsmith.data.shapes import Example
from gptsmith.data.shapes.preference import PreferenceExample
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.examples import ExampleObjective
from gptsmith.train.encoder import Encoder
from gptsmith.train.samples import Sample, padded


@dataclass(frozen=True)
class PairBatch(Batch):
    """Conversations (2 N, T): each one with the chosen completion, and after it the one with the rejected."""

    reference: Tensor | None = None
    """(2 N), the log-likelihoods of the completions under the reference model."""


class PairObjective(ExampleObjective):
    """An objective that learns from pairs of a chosen and a rejected completion."""

    shapes: ClassVar[tuple[str, ...]] = ("preference",)
    is_separable: ClassVar[bool] = True

    def sample(self, example: Example, encoder: Encoder) -> Sample:
        pair = cast(PreferenceExample, example)
        fitted = encoder.completions(pair.messages, (pair.chosen, pair.rejected))
        return Sample(example.place, fitted.sequences, num_omitted=fitted.num_omitted)

    def collate(self, rows: Sequence[Sequence[Sample]]) -> PairBatch:
        samples = [sample for row in rows for sample in row]
        reference = [value for sample in samples for value in sample.reference]
        return PairBatch(
            *padded([sequence for sample in samples for sequence in sample.sequences]),
            reference=torch.tensor(reference, dtype=torch.float64) if reference else None,
        )
