"""What a run learns from, and how well it has learnt it: what a sitting asks of its data, whatever that is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.train.objectives import Batch


@dataclass(frozen=True)
class Score:
    """How well a model does on validation data."""

    figures: dict[str, float]
    """`validation_loss`, which training is to lower, and what else is known, such as `bits_per_byte` or `accuracy`."""
    num_tokens: int
    """How much was read for it."""
    is_whole: bool
    """Whether that was all of the validation data."""

    @property
    def validation_loss(self) -> float:
        return self.figures["validation_loss"]


class TrainingSet(ABC):
    """Samples in a fixed order, and the data that validates.

    Attributes:
        num_samples: samples in an epoch.
        tokens_per_sample: of the average sample.
        num_validation_tokens: 0 where there is nothing to validate on.
        judges: what else is measured of the trained model, each once, at the end.
    """

    num_samples: int
    tokens_per_sample: float
    num_validation_tokens: int

    def __init__(self) -> None:
        self.judges: list[Callable[[GPT], dict[str, Any]]] = []

    @abstractmethod
    def batches(self, model: GPT, first_sample: int, num_samples: int, micro_batch_size: int) -> list[Batch]:
        """Some samples, so many at a time; which ones is a pure function of the seed and their numbers."""

    @abstractmethod
    def score(
        self,
        model: GPT,
        *,
        max_tokens: int | None = None,
        observe: Callable[[int], None] = lambda _: None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Score:
        """How well a model does on the validation data, or on about `max_tokens` of it."""

    @abstractmethod
    def sample(self, model: GPT, seed: int) -> str:
        """What a model writes now, for a person to see; nothing where it does not write."""

    @abstractmethod
    def origin(self, first_sample: int, num_samples: int) -> str:
        """Where a person finds what some samples were made of."""

    @abstractmethod
    def description(self) -> list[str]:
        """Lines that say what was read."""

    def closing_figures(self, model: GPT) -> dict[str, Any]:
        """What the judges say of the trained model."""
        return {name: value for judge in self.judges for name, value in judge(model).items()}
