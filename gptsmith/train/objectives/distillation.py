"""Distillation: a small model learns the probabilities that a large one gives to every token (Hinton et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.cross_entropy import linear_cross_entropy
from gptsmith.train.objectives import Batch, ObjectiveSettings, Term


@dataclass(frozen=True, kw_only=True)
class TaughtBatch(Batch):
    """A batch with the teacher's hidden states at the positions that are asked for, (N, its width), and its head."""

    teacher_hidden: Tensor
    teacher_head: Tensor


class DistillationSettings(ObjectiveSettings):
    """share T^2 KL(teacher || student), both at temperature T, + (1 - share) -ln p(token)."""

    kind: Literal["distillation"] = "distillation"
    teacher: str = ""
    """The run that teaches; it must have the same vocabulary."""
    temperature: float = Field(default=1.0, gt=0)
    """T: above 1, unlikely words count for more."""
    alpha: float = Field(default=0.5, gt=0, le=1)
    """The teacher's share in the loss; the rest is the text's."""

    def counts(self, batch: Batch) -> dict[str, int]:
        return dict.fromkeys(("teacher", "text"), batch.num_tokens)

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        taught, asked = cast(TaughtBatch, batch), batch.targets != IGNORED
        hidden = model.hidden(batch.input_ids, segments=batch.segments)
        with torch.no_grad():
            wanted = _log_probabilities(taught.teacher_hidden, taught.teacher_head, self.temperature)
        given = _log_probabilities(hidden[asked], model.head_weight, self.temperature)
        divergence = functional.kl_div(given, wanted, reduction="sum", log_target=True) * self.temperature**2
        terms = {"teacher": Term(divergence, batch.num_tokens, self.alpha)}
        nats = linear_cross_entropy(hidden, model.head_weight, batch.targets)
        return {**terms, "text": Term(nats, batch.num_tokens, 1 - self.alpha)}


def _log_probabilities(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """(N, V), in float32 or finer."""
    logits = (hidden @ weight.to(hidden.dtype).T).to(torch.promote_types(hidden.dtype, torch.float32))
    return functional.log_softmax(logits / temperature, dim=-1)
