"""Classification with GPT-1's recipe (Radford et al. 2018, section 3.2): a linear map of the last token's hidden state,
and the language model's own loss besides.

Texts stand between special tokens. A pair whose order means nothing is read in both orders, and the two states are
added; of several choices each is read with the question, and their scores compete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gptsmith.base.errors import DataError, did_you_mean
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.shapes import Example
from gptsmith.data.shapes.labelled import LabelledExample, labels_of
from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import PreviewedExample
from gptsmith.train.datasets.examples import ExampleObjective
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives import Term
from gptsmith.train.samples import Sample, padded

EXAMPLES_AT_ONCE = 32
"""Of a prediction."""


@dataclass(frozen=True, kw_only=True)
class LabelledBatch(Batch):
    """Sequences (B, T) of some examples (N)."""

    last: Tensor
    """(B), the position of each sequence's last token."""
    owner: Tensor
    """(B), the example that each sequence belongs to."""
    labels: Tensor
    """(N), the number of each example's label."""


class ClassificationSettings(ExampleObjective):
    """-ln p(label), plus the loss of the language model on the texts."""

    kind: Literal["classification"] = "classification"
    shapes: ClassVar[tuple[str, ...]] = ("labelled",)
    priority: ClassVar[int] = 1
    usual_epochs: ClassVar[float] = 3.0
    next_command: ClassVar[tuple[str, ...]] = ("predict", "FILE")
    validation_term: ClassVar[str] = "classification"
    predicts_labels: ClassVar[bool] = True
    is_separable: ClassVar[bool] = True
    chosen_by: Literal["loss", "accuracy"] = "loss"
    """The validation metric that selects the best weights: the loss -ln p(label), or 1 - accuracy."""
    labels: list[str] = Field(default_factory=list)
    """The labels of the outputs, in order; collected from the examples if not given."""
    form: Literal["text", "entailment", "similarity", "choice"] = "text"
    """The form of the examples; detected from their fields if not given."""
    auxiliary_weight: float = Field(default=0.5, ge=0)
    """The weight of the language modelling loss on the texts."""
    pooling: Literal["last", "mean"] = "last"
    """The input of the classification head: the last token's hidden state, or the mean of all of them."""
    word_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the tokens hidden in training, so that no label depends on a single word (Iyyer et al. 2015)."""

    @classmethod
    def for_examples(cls, table: Mapping[str, Any], splits: ExampleSplits) -> Self:
        """
        Raises:
            DataError: all examples have the same label.
        """
        examples = cast(list[LabelledExample], splits.train)
        completed = {"form": examples[0].form, **table}
        if completed["form"] != "choice" and "labels" not in completed:
            completed["labels"] = labels_of(examples)
        return super().for_examples(completed, splits)

    @property
    def num_labels(self) -> int:
        return 1 if self.form == "choice" else len(self.labels)

    @property
    def text_labels(self) -> Sequence[str]:
        return self.labels if self.form == "text" else ()

    @property
    def reads_last_token(self) -> bool:
        return self.pooling == "last"

    def validation_loss(self, means: Mapping[str, float]) -> float:
        return 1 - means["accuracy"] if self.chosen_by == "accuracy" else super().validation_loss(means)

    def sample(self, example: Example, encoder: Encoder) -> Sample:
        labelled = cast(LabelledExample, example)
        if labelled.form != self.form:
            raise DataError(f"this is an example of {labelled.form}, and the others are of {self.form}")
        first, *rest = labelled.texts
        texts: list[tuple[str, ...]] = [labelled.texts]
        if self.form == "similarity":
            texts = [labelled.texts, labelled.texts[::-1]]
        elif self.form == "choice":
            texts = [(first, choice) for choice in rest]
        encoded = [encoder.delimited(each) for each in texts]
        num_truncated = max(num_cut_off for _, num_cut_off in encoded)
        sequences = [sequence for sequence, _ in encoded]
        return Sample(example.place, sequences, self._number_of(labelled), num_truncated=num_truncated)

    def _number_of(self, example: LabelledExample) -> int:
        if example.label is None:
            return 0
        if self.form == "choice":
            choices = list(example.texts[1:])
            number = choices.index(example.label) if example.label in choices else _as_index(example.label)
            if not 0 <= number < len(choices):
                raise DataError(f"the label {example.label!r} is none of its {len(choices)} choices, nor their number")
            return number
        if example.label not in self.labels:
            raise DataError(f"the label {example.label!r} is not known ({did_you_mean(example.label, self.labels)})")
        return self.labels.index(example.label)

    def collate(self, rows: Sequence[Sequence[Sample]]) -> LabelledBatch:
        samples = [sample for row in rows for sample in row]
        sequences = [sequence for sample in samples for sequence in sample.sequences]
        input_ids, targets = padded(sequences)
        return LabelledBatch(
            input_ids,
            targets,
            last=torch.tensor([len(sequence.ids) - 1 for sequence in sequences]),
            owner=torch.tensor([number for number, sample in enumerate(samples) for _ in sample.sequences]),
            labels=torch.tensor([sample.label for sample in samples]),
        )

    def preview(self, sample: Sample) -> PreviewedExample:
        label = self.labels[sample.label] if self.labels else None
        return PreviewedExample(sample.place, sample.sequences, label)

    def label_sample(self, example: LabelledExample, encoder: Encoder) -> Sample:
        return self.sample(example.without_label(), encoder)

    def labels_for(self, example: LabelledExample) -> Sequence[str]:
        return example.texts[1:] if self.form == "choice" else self.labels

    @torch.inference_mode()
    def probabilities(self, model: GPT, samples: Sequence[Sample]) -> list[list[float]]:
        batch = self.collate([[sample] for sample in samples]).to(model.device)
        rows: list[list[float]] = self.scores(model, model.hidden(batch.input_ids), batch).softmax(dim=1).tolist()
        return rows

    def counts(self, batch: Batch) -> dict[str, int]:
        counts = dict.fromkeys((self.kind, "accuracy"), len(cast(LabelledBatch, batch).labels))
        return {**counts, "next_token": batch.num_tokens} if self.auxiliary_weight else counts

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        labelled, counts = cast(LabelledBatch, batch), self.counts(batch)
        input_ids = batch.input_ids
        if model.training and self.word_dropout:
            input_ids = with_word_dropout(input_ids, labelled.last, self.word_dropout)
        hidden = model.hidden(input_ids)
        scores = self.scores(model, hidden, labelled)
        right = (scores.argmax(dim=1) == labelled.labels).sum()
        terms = {
            self.kind: Term(functional.cross_entropy(scores, labelled.labels, reduction="sum"), counts[self.kind]),
            "accuracy": Term(right, counts["accuracy"], weight=0.0),
        }
        if self.auxiliary_weight:
            nats = model.cross_entropy(hidden, batch.targets)
            terms["next_token"] = Term(nats, counts["next_token"], self.auxiliary_weight)
        return terms

    def scores(self, model: GPT, hidden: Tensor, batch: LabelledBatch) -> Tensor:
        """The logits of each example's labels (N, K); minus infinity for choices that are not there."""
        rows = torch.arange(len(hidden), device=hidden.device)
        states = hidden[rows, batch.last] if self.pooling == "last" else _means(hidden, batch.last)  # (B, C)
        num_examples = len(batch.labels)
        if self.form != "choice":
            summed = states.new_zeros(num_examples, states.shape[1]).index_add(0, batch.owner, states)
            return model.scores(summed)
        score = model.scores(states)[:, 0]  # (B)
        sizes = torch.bincount(batch.owner, minlength=num_examples)
        place = rows - (sizes.cumsum(0) - sizes)[batch.owner]
        table = score.new_full((num_examples, int(sizes.max())), float("-inf"))
        return table.index_put((batch.owner, place), score)


def with_word_dropout(input_ids: Tensor, last: Tensor, share: float) -> Tensor:
    """The ids with a share of the tokens before the last replaced by the special token that texts start with."""
    hidden = torch.rand(input_ids.shape, device=input_ids.device) < share
    hidden &= torch.arange(input_ids.shape[1], device=input_ids.device) != last[:, None]
    return torch.where(hidden, input_ids[:, :1], input_ids)


def _means(hidden: Tensor, last: Tensor) -> Tensor:
    """(B, C), the mean of the states up to each row's last token."""
    places = torch.arange(hidden.shape[1], device=hidden.device)
    share = (places <= last[:, None]).to(hidden.dtype) / (last[:, None] + 1)  # (B, T)
    return torch.einsum("btc,bt->bc", hidden, share)


def _as_index(label: str) -> int:
    return int(label) if label.lstrip("-").isdecimal() else -1
