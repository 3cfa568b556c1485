"""Learning from preferences without a reward model: DPO (Rafailov et al. 2023), IPO (Azar et al. 2023) and ORPO (Hong
et al. 2024)."""

from __future__ import annotations

from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch, sequence_log_likelihoods
from gptsmith.train.objectives import PREFERENCE_LEARNING_RATE, PREFERENCE_LORA_LEARNING_RATE, Term
from gptsmith.train.pairs import PairBatch, PairObjective


class DpoSettings(PairObjective):
    """With h the log-ratio of the chosen completion's likelihood to that under the reference model, less that of the
    rejected: -ln sigmoid(beta h) for DPO, (h - 1 / (2 beta))^2 for IPO. ORPO needs no reference model: -ln p(chosen),
    less beta times the log-sigmoid of the difference of log-odds."""

    kind: Literal["dpo"] = "dpo"
    priority: ClassVar[int] = 1
    usual_learning_rate: ClassVar[float] = PREFERENCE_LEARNING_RATE
    usual_lora_learning_rate: ClassVar[float] = PREFERENCE_LORA_LEARNING_RATE
    loss_type: Literal["sigmoid", "ipo", "orpo"] = "sigmoid"
    """The loss."""
    beta: float = Field(default=0.1, gt=0)
    """How strongly the model is kept close to the reference model (sigmoid, ipo), or the weight of the odds (orpo)."""

    @property
    def uses_reference_model(self) -> bool:
        return self.loss_type != "orpo"

    def counts(self, batch: Batch) -> dict[str, int]:
        pairs = len(batch.input_ids) // 2
        counts = {self.kind: pairs, "accuracy": pairs}
        return {**counts, "nll": int((batch.targets[0::2] != IGNORED).sum())} if self.loss_type == "orpo" else counts

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        log_likelihoods = sequence_log_likelihoods(model, batch.input_ids, batch.targets)  # (2 N)
        counts = self.counts(batch)
        if self.loss_type == "orpo":
            margin = _log_odds_ratio(log_likelihoods, batch.targets)
            terms = {
                self.kind: Term(-functional.logsigmoid(margin).sum(), counts[self.kind], self.beta),
                "nll": Term(-log_likelihoods[0::2].sum(), counts["nll"]),
            }
        else:
            reference = cast(PairBatch, batch).reference
            assert reference is not None, "the dataset adds the reference log-likelihoods"
            log_ratio = log_likelihoods - reference.to(log_likelihoods.dtype)
            margin = log_ratio[0::2] - log_ratio[1::2]
            is_dpo = self.loss_type == "sigmoid"
            each = -functional.logsigmoid(self.beta * margin) if is_dpo else (margin - 1 / (2 * self.beta)).square()
            terms = {self.kind: Term(each.sum(), counts[self.kind])}
        return {**terms, "accuracy": Term((margin > 0).sum(), counts["accuracy"], weight=0.0)}


def _log_odds_ratio(log_likelihoods: Tensor, targets: Tensor) -> Tensor:
    """The log-odds of each chosen completion's mean token probability, less those of the rejected one (N)."""
    mean = log_likelihoods / (targets != IGNORED).sum(dim=1)
    log_odds = mean - torch.log1p(-mean.exp().clamp(max=1 - 1e-7))
    return log_odds[0::2] - log_odds[1::2]
