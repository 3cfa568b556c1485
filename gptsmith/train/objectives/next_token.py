"""Self-supervised pretraining: predict each token from those before it (Radford et al. 2018, equation 1)."""

from __future__ import annotations

from typing import Literal

from gptsmith.model.gpt import GPT
from gptsmith.train.cross_entropy import IGNORED, linear_cross_entropy
from gptsmith.train.objectives import Batch, ObjectiveSettings, Term


class NextTokenSettings(ObjectiveSettings):
    """The sum of -ln p(token | tokens before it)."""

    kind: Literal["next_token"] = "next_token"

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"next_token": int((batch.targets != IGNORED).sum())}

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        nats = linear_cross_entropy(model.hidden(batch.input_ids), model.head_weight, batch.targets)
        return {"next_token": Term(nats, self.counts(batch)["next_token"])}
