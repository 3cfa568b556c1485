"""A reward model: the score of the answer that people like better should be the higher one (Bradley and Terry 1952;
Ouyang et al. 2022, equation 1)."""

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
from gptsmith.train.objectives import Batch, Term
from gptsmith.train.samples import Encoder, ExampleObjective, Sample, padded


@dataclass(frozen=True, kw_only=True)
class ScoredBatch(Batch):
    """Conversations (B, T); where they are pairs, each chosen one and after it the rejected one."""

    last: Tensor
    """(B), the position of each conversation's last token."""

    @property
    def num_tokens(self) -> int:
        return int((self.last + 1).sum())


class RewardModelSettings(ExampleObjective):
    """-ln sigmoid(score of the chosen - score of the rejected)."""

    kind: Literal["reward_model"] = "reward_model"
    shape: ClassVar[str] = "preference"

    @property
    def num_labels(self) -> int:
        """Outputs of the score head."""
        return 1

    def sample(self, example: Example, encoder: Encoder) -> Sample:
        pair = cast(PreferenceExample, example)
        answers = ({"role": "assistant", "content": answer} for answer in (pair.chosen, pair.rejected))
        return Sample(example.place, [encoder.conversation([*pair.messages, answer]) for answer in answers])

    def collate(self, rows: Sequence[Sequence[Sample]]) -> ScoredBatch:
        sequences = [sequence for row in rows for sample in row for sequence in sample.sequences]
        # What follows the token that ends the last turn is the template's, and says nothing of the answer.
        last = [max(place for place, trained in enumerate(sequence.trained) if trained) for sequence in sequences]
        return ScoredBatch(*padded(sequences), last=torch.tensor(last))

    def counts(self, batch: Batch) -> dict[str, int]:
        pairs = len(batch.input_ids) // 2
        return {"reward": pairs, "accuracy": pairs}

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        score = rewards(model, cast(ScoredBatch, batch))
        margin = score[0::2] - score[1::2]
        counts = self.counts(batch)
        return {
            "reward": Term(-functional.logsigmoid(margin).sum(), counts["reward"]),
            "accuracy": Term((margin > 0).sum(), counts["accuracy"], weight=0.0),
        }


def rewards(model: GPT, batch: ScoredBatch) -> Tensor:
    """The score (B) of each conversation."""
    hidden = model.hidden(batch.input_ids)
    return model.scores(hidden[torch.arange(len(hidden), device=hidden.device), batch.last])[:, 0]
