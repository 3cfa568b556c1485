"""The kinds of objective.

Contract: `loss(model, batch)` returns terms, each a (sum, count, weight): sums, never means, so that gradient
accumulation is exact under any mask. `counts(batch)` gives the counts before the forward pass. A term of weight 0 is
only watched.

An objective that learns from examples also says how one becomes token sequences (`sequences`), and how samples become
a batch (`collate`); see `gptsmith.train.objectives.samples`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Annotated, Self

import torch
from torch import Tensor

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT


@dataclass(frozen=True)
class Batch:
    """Token ids (B, T) and, for each, the id that should come after it; -100 where nothing is asked."""

    input_ids: Tensor
    targets: Tensor
    segments: Tensor | None = None
    """(B, T), which example of its row a token belongs to, where several stand in one row."""

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        moved = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)

    @property
    def num_tokens(self) -> int:
        """Tokens that are asked for."""
        return int((self.targets != IGNORED).sum())


@dataclass(frozen=True)
class Term:
    """A part of a loss: its sum over `count` items (a tensor with a gradient), and its weight in the whole."""

    sum: Tensor
    count: int
    weight: float = 1.0


class ObjectiveSettings(Settings):
    """What every kind of objective has."""

    kind: str

    @property
    def compares(self) -> bool:
        """Whether the model is compared with what it was before training: dropout, which only the model in training
        has, would then look like a difference."""
        return False

    @abstractmethod
    def counts(self, batch: Batch) -> dict[str, int]:
        """How many items each term will sum over."""

    @abstractmethod
    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        """The terms of the loss on a batch."""


@torch.inference_mode()
def measured(model: GPT, objective: ObjectiveSettings, batches: Iterable[Batch]) -> dict[str, float]:
    """The mean of each term over all batches, and `loss`, their weighted sum."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    weights: dict[str, float] = {}
    for batch in batches:
        for name, term in objective.loss(model, batch).items():
            sums[name] = sums.get(name, 0.0) + float(term.sum)
            counts[name] = counts.get(name, 0) + term.count
            weights[name] = term.weight
    means = {name: sums[name] / max(counts[name], 1) for name in sums}
    return {"loss": sum(weights[name] * mean for name, mean in means.items()), **means}


KINDS = Kinds(__name__, ObjectiveSettings, default="next_token")
AnyObjective = Annotated[ObjectiveSettings, KINDS]
