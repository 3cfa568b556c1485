"""A reward model: the reward of the preferred completion should be the higher one (Bradley and Terry 1952; Ouyang et
al. 2022, equation 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.data.shapes import Example
from gptsmith.data.shapes.preference import PreferenceExample
from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.examples import ExampleObjective
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives import Term
from gptsmith.train.samples import Sample, padded


@dataclass(frozen=True, kw_only=True)
class RewardBatch(Batch):
    """Conversations (B, T); of pairs, each chosen one and after it the rejected one."""

    last: Tensor
    """(B), the position of each conversation's last token."""

    @property
    def num_tokens(self) -> int:
        return int((self.last + 1).sum())


class RewardModelSettings(ExampleObjective):
    """-ln sigmoid(reward of the chosen completion - reward of the rejected one)."""

    kind: Literal["reward_model"] = "reward_model"
    shapes: ClassVar[tuple[str, ...]] = ("preference",)
    is_separable: ClassVar[bool] = True
    usual_learning_rate: ClassVar[float] = 2.5e-4
    """At twice that, the model below the head loses a quarter of its facts (LOG.md)."""
    next_command: ClassVar[tuple[str, ...]] = ("info",)

    @property
    def num_labels(self) -> int:
        return 1

    def sample(self, example: Example, encoder: Encoder) -> Sample:
        pair = cast(PreferenceExample, example)
        fitted = encoder.completions(pair.messages, (pair.chosen, pair.rejected), only_last=False)
        return Sample(example.place, fitted.sequences, num_omitted=fitted.num_omitted)

    def collate(self, rows: Sequence[Sequence[Sample]]) -> RewardBatch:
        sequences = [sequence for row in rows for sample in row for sequence in sample.sequences]
        # What follows the token that ends the last turn is the template's, and says nothing of the completion.
        last = [max(place for place, trained in enumerate(sequence.trained) if trained) for sequence in sequences]
        return RewardBatch(*padded(sequences), last=torch.tensor(last))

    def counts(self, batch: Batch) -> dict[str, int]:
        return dict.fromkeys((self.kind, "accuracy"), len(batch.input_ids) // 2)

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        reward = rewards(model, cast(RewardBatch, batch))
        margin = reward[0::2] - reward[1::2]
        counts = self.counts(batch)
        return {
            self.kind: Term(-functional.logsigmoid(margin).sum(), counts[self.kind]),
            "accuracy": Term((margin > 0).sum(), counts["accuracy"], weight=0.0),
        }


def rewards(model: GPT, batch: RewardBatch) -> Tensor:
    """The reward (B) of each conversation."""
    hidden = model.hidden(batch.input_ids)
    return model.scores(hidden[torch.arange(len(hidden), device=hidden.device), batch.last])[:, 0]
