"""Self-supervised pretraining: predict each token from those before it (Radford et al. 2018, equation 1)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.cross_entropy import linear_cross_entropy
from gptsmith.train.objectives import Batch, ObjectiveSettings, Term


class NextTokenSettings(ObjectiveSettings):
    """The sum of -ln p(token | tokens before it)."""

    kind: Literal["next_token"] = "next_token"

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"next_token": batch.num_tokens}

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        return {"next_token": Term(next_token_nats(model, batch), batch.num_tokens)}


def next_token_nats(model: GPT, batch: Batch) -> Tensor:
    """The sum of -ln p of all targets of a batch, in nats."""
    hidden = model.hidden(batch.input_ids, segments=batch.segments)
    return linear_cross_entropy(hidden, model.head_weight, batch.targets)
