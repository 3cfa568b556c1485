"""The kinds of objective: what a model learns, and from what.

Contract: `loss(model, batch)` returns terms, each a (sum, count, weight): sums, never means, so that gradient
accumulation is exact under any mask. `counts(batch)` gives the counts before the forward pass. A term of weight 0 is
only watched. The main term bears the objective's name.

The settings class also says what others must know of the objective: the `shapes` of data that it learns from (see
`gptsmith.data.shapes`) and its `priority` among the objectives for a shape; its `dataset`, which turns data into
batches; whether it needs a head with labels (`num_labels`) or a reference model; its usual epochs and learning rates;
and the command that uses the tuned model. An objective that learns from examples derives from `ExampleObjective` in
`gptsmith.train.datasets.examples`, which has a dataset; one that learns from rewards derives from `RolloutObjective` in
`gptsmith.train.datasets.rollouts`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import torch
from torch import Tensor

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.shapes.labelled import LabelledExample
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import Dataset, DatasetInputs
from gptsmith.train.datasets.text import LeftOut
from gptsmith.train.encoder import Encoder
from gptsmith.train.samples import Sample

RATE_WIDTH = 128
"""The width of the models for which the usual learning rates of objectives are given."""
PREFERENCE_LEARNING_RATE, PREFERENCE_LORA_LEARNING_RATE = 1e-4, 1.5e-3
"""Those of objectives that compare whole completions. Their loss is near 0 after few steps, and more of a rate only
ruins what the comparison leaves open."""


@dataclass(frozen=True)
class Term:
    """A part of a loss: its sum over `count` items (a tensor with a gradient), and its weight in the whole."""

    sum: Tensor
    count: int
    weight: float = 1.0


class ObjectiveSettings(Settings):
    """An objective."""

    kind: str
    shapes: ClassVar[tuple[str, ...]]
    """The shapes of data that it learns from."""
    priority: ClassVar[int] = 0
    """Of the objectives for a shape of data, the one of the highest priority is the default."""
    usual_epochs: ClassVar[float] = 1.0
    """How often fine-tuning reads the data if nobody sets it."""
    usual_learning_rate: ClassVar[float] = 5e-4
    """That of fine-tuning all weights of a model of `RATE_WIDTH`, if nobody sets it; wider models have a lower one."""
    usual_lora_learning_rate: ClassVar[float] = 5e-4
    """That of fine-tuning adapters of such a model, if nobody sets it."""
    raises_small_rates: ClassVar[bool] = False
    """Whether small models are tuned at a higher rate than their width alone gives."""
    next_command: ClassVar[tuple[str, ...]] = ("chat",)
    """A verb that uses the tuned model, and its arguments behind the run."""
    is_separable: ClassVar[bool] = False
    """Whether the loss of an example depends on that example and the model alone, as private training needs it."""
    predicts_labels: ClassVar[bool] = False
    """Whether the tuned model predicts the labels of texts."""

    @classmethod
    def for_examples(cls, table: Mapping[str, Any], splits: ExampleSplits) -> Self:
        """The objective of a table of settings, completed by what the examples tell.

        Raises:
            UserError: a setting is wrong or missing.
        """
        return cls.parse(table, "train.objective")

    @property
    def num_labels(self) -> int | None:
        """Outputs of the classification or reward head; None if the model has no such head."""
        return None

    @property
    def text_labels(self) -> Sequence[str]:
        """The labels that a single text may get; none if the model predicts none, or of other examples."""
        return ()

    @property
    def reads_last_token(self) -> bool:
        """Whether a label is read from the last token's state alone; for objectives with `predicts_labels`."""
        return False

    @property
    def uses_reference_model(self) -> bool:
        """Whether the model is compared with a reference model, which is itself before training. Dropout, which only
        the model in training has, would then look like a difference."""
        return False

    @property
    def left_out(self) -> LeftOut | None:
        """The targets of plain text that are not learnt; None if all are."""
        return None

    @abstractmethod
    def dataset(self, inputs: DatasetInputs) -> Dataset:
        """The dataset for fine-tuning with this objective.

        Raises:
            UserError: an example or a setting cannot be used.
        """

    def label_sample(self, example: LabelledExample, encoder: Encoder) -> Sample:
        """An example to be labelled as token sequences; for objectives with `predicts_labels`.

        Raises:
            UserError: it is not of the form that the model was trained on.
        """
        raise NotImplementedError(f"{self.kind} predicts no labels")

    def labels_for(self, example: LabelledExample) -> Sequence[str]:
        """The labels that an example may get; for objectives with `predicts_labels`."""
        raise NotImplementedError(f"{self.kind} predicts no labels")

    def probabilities(self, model: GPT, samples: Sequence[Sample]) -> list[list[float]]:
        """The probabilities of each sample's labels, in one pass; for objectives with `predicts_labels`."""
        raise NotImplementedError(f"{self.kind} predicts no labels")

    @abstractmethod
    def counts(self, batch: Batch) -> dict[str, int]:
        """The number of items that each term sums over."""

    @abstractmethod
    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        """The terms of the loss on a batch."""


@torch.inference_mode()
def mean_terms(
    model: GPT,
    objective: ObjectiveSettings,
    batches: Iterable[Batch],
    processes: Processes = SINGLE_PROCESS,
    num_counted: int | None = None,
) -> dict[str, float]:
    """The mean of each term over all batches, those of other processes too, and `loss`, their weighted sum.

    Args:
        num_counted: how many of the batches count; those after them keep this process in step with the others.
    """
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    weights: dict[str, float] = {}
    for number, batch in enumerate(batches):
        counted = num_counted is None or number < num_counted
        for name, term in objective.loss(model, batch).items():
            sums[name] = sums.get(name, 0.0) + counted * float(term.sum)
            counts[name] = counts.get(name, 0) + counted * term.count
            weights[name] = term.weight
    totals = processes.all_reduce_sum([*sums.values(), *counts.values()])
    sums, counts = dict(zip(sums, totals, strict=False)), dict(zip(counts, totals[len(sums) :], strict=True))
    means = {name: sums[name] / max(counts[name], 1) for name in sums}
    return {"loss": sum(weights[name] * mean for name, mean in means.items()), **means}


KINDS = Kinds(__name__, ObjectiveSettings, default="next_token")
AnyObjective = Annotated[ObjectiveSettings, KINDS]


def objectives_for(shape: str) -> list[str]:
    """The names of the objectives that learn from data of a shape, the default first."""
    found = [name for name in KINDS.names() if shape in KINDS.settings(name).shapes]
    return sorted(found, key=lambda name: -KINDS.settings(name).priority)
