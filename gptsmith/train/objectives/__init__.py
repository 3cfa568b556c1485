"""The kinds of objective.

Contract: `loss(model, batch)` returns terms, each a (sum, count, weight): sums, never means, so that gradient
accumulation is exact under any mask. `counts(batch)` gives the counts before the forward pass.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.model.gpt import GPT


@dataclass(frozen=True)
class Batch:
    """Token ids (B, T) and, for each, the id that should come after it; -100 where nothing is asked."""

    input_ids: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Term:
    """A part of a loss: its sum over `count` items (a tensor with a gradient), and its weight in the whole."""

    sum: Tensor
    count: int
    weight: float = 1.0


class ObjectiveSettings(Settings):
    """What every kind of objective has."""

    kind: str

    @abstractmethod
    def counts(self, batch: Batch) -> dict[str, int]:
        """How many items each term will sum over."""

    @abstractmethod
    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        """The terms of the loss on a batch."""


KINDS = Kinds(__name__, ObjectiveSettings, default="next_token")
AnyObjective = Annotated[ObjectiveSettings, KINDS]
