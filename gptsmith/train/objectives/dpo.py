"""Learning from preferences without a reward model: DPO (Rafailov et al. 2023), IPO (Azar et al. 2023) and ORPO (Hong
et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gptsmith.data.shapes import Example
from gptsmith.data.shapes.preference import PreferenceExample
from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.cross_entropy import token_log_likelihoods
from gptsmith.train.objectives import Batch, Term
from gptsmith.train.samples import Encoder, ExampleObjective, Sample, padded


@dataclass(frozen=True)
class PairBatch(Batch):
    """Conversations (2 N, T): each chosen one, and after it the rejected one."""

    reference: Tensor | None = None
    """(2 N), the log-likelihoods of the answers to the model before training."""


class DpoSettings(ExampleObjective):
    """With h the logarithm of how much likelier than before the chosen answer has become, less that of the rejected:
    -ln sigmoid(beta h) for DPO, (h - 1 / (2 beta))^2 for IPO. ORPO needs no model before training: -ln p(chosen), less
    beta times the log-sigmoid of the difference of log-odds."""

    kind: Literal["dpo"] = "dpo"
    shape: ClassVar[str] = "preference"
    loss_type: Literal["sigmoid", "ipo", "orpo"] = "sigmoid"
    """The loss."""
    beta: float = Field(default=0.1, gt=0)
    """How strongly the model is held where it was (dpo, ipo), or the weight of the odds (orpo)."""

    @property
    def compares(self) -> bool:
        return self.loss_type != "orpo"

    def sample(self, example: Example, encoder: Encoder) -> Sample:
        pair = cast(PreferenceExample, example)
        answers = ({"role": "assistant", "content": answer} for answer in (pair.chosen, pair.rejected))
        sequences = [encoder.conversation([*pair.messages, answer], only_last=True) for answer in answers]
        return Sample(example.place, sequences)

    def collate(self, rows: Sequence[Sequence[Sample]]) -> PairBatch:
        samples = [sample for row in rows for sample in row]
        reference = [value for sample in samples for value in sample.reference]
        return PairBatch(
            *padded([sequence for sample in samples for sequence in sample.sequences]),
            reference=torch.tensor(reference, dtype=torch.float64) if reference else None,
        )

    def counts(self, batch: Batch) -> dict[str, int]:
        pairs = len(batch.input_ids) // 2
        chosen = int((batch.targets[0::2] != IGNORED).sum())
        counts = {"preference": pairs, "accuracy": pairs}
        return {**counts, "chosen": chosen} if self.loss_type == "orpo" else counts

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        likelihood = answer_log_likelihoods(model, batch)
        counts = self.counts(batch)
        if self.loss_type == "orpo":
            asked = (batch.targets != IGNORED).sum(dim=1)
            mean = likelihood / asked
            odds = mean - torch.log1p(-mean.exp().clamp(max=1 - 1e-7))
            margin = odds[0::2] - odds[1::2]
            terms = {
                "preference": Term(-functional.logsigmoid(margin).sum(), counts["preference"], self.beta),
                "chosen": Term(-likelihood[0::2].sum(), counts["chosen"]),
            }
        else:
            reference = cast(PairBatch, batch).reference
            assert reference is not None, "prepared samples carry their reference"
            gain = likelihood - reference.to(likelihood.dtype)
            margin = gain[0::2] - gain[1::2]
            dpo = self.loss_type == "sigmoid"
            each = -functional.logsigmoid(self.beta * margin) if dpo else (margin - 1 / (2 * self.beta)).square()
            terms = {"preference": Term(each.sum(), counts["preference"])}
        return {**terms, "accuracy": Term((margin > 0).sum(), counts["accuracy"], weight=0.0)}


def answer_log_likelihoods(model: GPT, batch: Batch) -> Tensor:
    """The log-likelihood (B), in nats, of what is asked for in each row."""
    row, values = token_log_likelihoods(model.hidden(batch.input_ids), model.head_weight, batch.targets)
    return values.new_zeros(len(batch.input_ids)).index_add(0, row, values)
