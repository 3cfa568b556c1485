"""Self-supervised pretraining: predict each token from those before it (Radford et al. 2018, equation 1)."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from gptsmith.data.shapes import TEXT
from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import DatasetInputs
from gptsmith.train.datasets.text import TextDataset
from gptsmith.train.objectives import ObjectiveSettings, Term


class NextTokenSettings(ObjectiveSettings):
    """The sum of -ln p(token | tokens before it)."""

    kind: Literal["next_token"] = "next_token"
    shapes: ClassVar[tuple[str, ...]] = (TEXT,)
    priority: ClassVar[int] = 1
    is_separable: ClassVar[bool] = True

    def dataset(self, inputs: DatasetInputs) -> TextDataset:
        return TextDataset.of(inputs)

    def counts(self, batch: Batch) -> dict[str, int]:
        return {self.kind: batch.num_tokens}

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        return {self.kind: Term(cross_entropy_sum(model, batch), batch.num_tokens)}


def cross_entropy_sum(model: GPT, batch: Batch) -> Tensor:
    """The sum of -ln p of all targets of a batch, in nats."""
    hidden = model.hidden(batch.input_ids, segments=batch.segments)
    return model.cross_entropy(hidden, batch.targets)
