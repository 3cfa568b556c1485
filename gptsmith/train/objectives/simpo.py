"""Learning from preferences without a reference model: SimPO (Meng et al. 2024, equation 6)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch.nn import functional

from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch, sequence_log_likelihoods
from gptsmith.train.objectives import PREFERENCE_LEARNING_RATE, PREFERENCE_LORA_LEARNING_RATE, Term
from gptsmith.train.pairs import PairObjective


class SimpoSettings(PairObjective):
    """-ln sigmoid(r(chosen) - r(rejected) - gamma), where the reward r of a completion is beta times the mean of its
    tokens' log-likelihoods: what is optimised is what ranks completions of any length."""

    kind: Literal["simpo"] = "simpo"
    usual_learning_rate: ClassVar[float] = PREFERENCE_LEARNING_RATE / 2
    """No reference model holds it: at the rate of DPO a real model loses half of its facts (LOG.md)."""
    usual_lora_learning_rate: ClassVar[float] = PREFERENCE_LORA_LEARNING_RATE
    beta: float = Field(default=2.0, gt=0)
    """The scale of the rewards."""
    gamma: float = Field(default=1.0, ge=0)
    """The target reward margin: by how much the chosen completion's reward should exceed that of the rejected one."""

    def counts(self, batch: Batch) -> dict[str, int]:
        return dict.fromkeys((self.kind, "accuracy"), len(batch.input_ids) // 2)

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        lengths = (batch.targets != IGNORED).sum(dim=1)
        rewards = self.beta * sequence_log_likelihoods(model, batch.input_ids, batch.targets) / lengths  # (2 N)
        margin = rewards[0::2] - rewards[1::2]
        counts = self.counts(batch)
        return {
            self.kind: Term(-functional.logsigmoid(margin - self.gamma).sum(), counts[self.kind]),
            "accuracy": Term((margin > 0).sum(), counts["accuracy"], weight=0.0),
        }
