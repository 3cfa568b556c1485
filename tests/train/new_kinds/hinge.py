"""Learning from preferences by a hinge: SLiC's calibration loss (Zhao et al. 2023, equation 1), as a test adds it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch, sequence_log_likelihoods
from gptsmith.train.objectives import Term
from gptsmith.train.pairs import PairObjective


class HingeSettings(PairObjective):
    """max(0, margin - ln p(chosen) + ln p(rejected))."""

    kind: Literal["hinge"] = "hinge"
    usual_epochs: ClassVar[float] = 2.0
    next_command: ClassVar[tuple[str, ...]] = ("generate",)
    margin: float = Field(default=1.0, gt=0)
    """By how many nats the chosen completion should be likelier."""

    def counts(self, batch: Batch) -> dict[str, int]:
        return {self.kind: len(batch.input_ids) // 2}

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        log_likelihoods = sequence_log_likelihoods(model, batch.input_ids, batch.targets)
        missing = (self.margin - log_likelihoods[0::2] + log_likelihoods[1::2]).clamp(min=0)
        return {self.kind: Term(missing.sum(), self.counts(batch)[self.kind])}
