"""Pretraining that learns less by heart: the goldfish loss (Hans et al. 2024, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from gptsmith.base.hashing import GOLDEN_RATIO, mixed
from gptsmith.data.shapes import TEXT
from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import DatasetInputs
from gptsmith.train.datasets.text import TextDataset
from gptsmith.train.objectives import ObjectiveSettings, Term
from gptsmith.train.objectives.next_token import cross_entropy_sum


class GoldfishSettings(ObjectiveSettings):
    """The sum of -ln p(token | tokens before it), but not of one token in k, which then has to be guessed: there a
    recital ends. A hash of the h tokens before it chooses it, so that each copy of a passage lacks the same ones."""

    kind: Literal["goldfish"] = "goldfish"
    shapes: ClassVar[tuple[str, ...]] = (TEXT,)
    k: int = Field(default=4, ge=2)
    """One target in so many is left out. The fewer, the less is recited, and the less is learnt from a text."""
    h: int = Field(default=13, ge=1)
    """How many tokens before a target choose whether it is left out. Copies lack the same targets from their h-th token
    on, and everywhere if their documents begin alike."""

    @property
    def left_out(self) -> HashedTargets:
        return HashedTargets(self.k, self.h)

    def dataset(self, inputs: DatasetInputs) -> TextDataset:
        return TextDataset.of(inputs, self.left_out)

    def counts(self, batch: Batch) -> dict[str, int]:
        return {self.kind: batch.num_tokens}

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        return {self.kind: Term(cross_entropy_sum(model, batch), batch.num_tokens)}


@dataclass(frozen=True)
class HashedTargets:
    """One target in k, by a hash of the tokens before it."""

    k: int
    num_before: int

    def __call__(self, tokens: np.ndarray, separator: int) -> np.ndarray:
        """Whether each token (T) is left out as a target, given `num_before` more before the first: a pure function of
        those before it that are of its own document, which a separator begins."""
        documents = np.cumsum(tokens == separator)
        before, owners = (sliding_window_view(each, self.num_before)[:-1] for each in (tokens, documents))  # (T, h)
        own = np.where(owners == owners[:, -1:], before + 1, 0).astype(np.uint64)
        hashed = (own * np.cumprod(np.full(self.num_before, GOLDEN_RATIO, np.uint64))).sum(axis=1, dtype=np.uint64)
        left_out: np.ndarray = mixed(hashed) % np.uint64(self.k) == 0
        return left_out
