"""Focal loss (Lin et al. 2017, equation 4): tokens that are predicted well already count less."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch.nn import functional

from gptsmith.data.shapes import TEXT
from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import DatasetInputs
from gptsmith.train.datasets.text import TextDataset
from gptsmith.train.objectives import ObjectiveSettings, Term


class FocalSettings(ObjectiveSettings):
    """The sum of -(1 - p)^gamma ln p, with p = p(token | tokens before it)."""

    kind: Literal["focal"] = "focal"
    shapes: ClassVar[tuple[str, ...]] = (TEXT,)
    gamma: float = Field(1.0, ge=0)
    """The exponent; 0 is the usual loss."""

    def dataset(self, inputs: DatasetInputs) -> TextDataset:
        return TextDataset.of(inputs)

    def counts(self, batch: Batch) -> dict[str, int]:
        return {self.kind: batch.num_tokens}

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        hidden = model.hidden(batch.input_ids, segments=batch.segments)  # (B, T, C)
        logits = model.logits(hidden)  # (B, T, V)
        surprise = functional.cross_entropy(
            logits.flatten(0, -2).float(), batch.targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        weight = (1 - (-surprise).exp()).clamp(min=0) ** self.gamma
        return {self.kind: Term((weight * surprise).sum(), batch.num_tokens)}
