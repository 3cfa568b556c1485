"""A dataset over another one, whose data it reads in batches of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.train.datasets.base import Dataset, PreviewedExample, Score
from gptsmith.train.datasets.encoding import Encoding


class WrappedDataset(Dataset):
    """Everything but the batches is the other dataset's."""

    def __init__(self, data: Dataset) -> None:
        super().__init__()
        self.data = data
        self.num_samples, self.tokens_per_sample = data.num_samples, data.tokens_per_sample
        self.num_validation_tokens, self.num_test_tokens = data.num_validation_tokens, data.num_test_tokens

    @property
    def longest_sample(self) -> int:
        return self.data.longest_sample

    def num_tokens_of(self, first_sample: int, num_samples: int) -> float:
        return self.data.num_tokens_of(first_sample, num_samples)

    def score(
        self,
        model: GPT,
        *,
        max_tokens: int | None = None,
        observe: Callable[[int], None] = lambda _: None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Score:
        return self.data.score(model, max_tokens=max_tokens, observe=observe, processes=processes)

    def test_figures(self, model: GPT) -> dict[str, Any]:
        return self.data.test_figures(model)

    def sample(self, model: GPT, seed: int) -> str:
        return self.data.sample(model, seed)

    def origin(self, first_sample: int, num_samples: int) -> str:
        return self.data.origin(first_sample, num_samples)

    def description(self) -> list[str]:
        return self.data.description()

    def account(self) -> Encoding | None:
        return self.data.account()

    def preview(self, num_examples: int) -> list[PreviewedExample]:
        return self.data.preview(num_examples)
