"""A dataset with a teacher: the batches of another dataset, with a larger model's hidden states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import Dataset, PreviewedExample, Score
from gptsmith.train.datasets.encoding import Encoding


@dataclass(frozen=True, kw_only=True)
class DistillationBatch(Batch):
    """A batch with the teacher's hidden states at the N positions that have a target, (N, its width), its head, and its
    cap of logits."""

    teacher_hidden: Tensor
    teacher_head: Tensor
    teacher_cap: float | None


class DistillationDataset(Dataset):
    """Each batch of another dataset, with the teacher's hidden states. The validation loss is the other dataset's."""

    def __init__(self, data: Dataset, teacher: GPT) -> None:
        super().__init__()
        self.data, self.teacher = data, teacher.eval()
        self.num_samples, self.tokens_per_sample = data.num_samples, data.tokens_per_sample
        self.num_validation_tokens, self.num_test_tokens = data.num_validation_tokens, data.num_test_tokens

    @property
    def longest_sample(self) -> int:
        return self.data.longest_sample

    def num_tokens_of(self, first_sample: int, num_samples: int) -> float:
        return self.data.num_tokens_of(first_sample, num_samples)

    @torch.no_grad()
    def batches(self, model: GPT, first_sample: int, num_samples: int, micro_batch_size: int) -> list[Batch]:
        self.teacher.to(model.device)
        found: list[Batch] = []
        for batch in self.data.batches(model, first_sample, num_samples, micro_batch_size):
            states = self.teacher.hidden(batch.input_ids, segments=batch.segments)[batch.targets != IGNORED]
            found.append(
                DistillationBatch(
                    **vars(batch),
                    teacher_hidden=states,
                    teacher_head=self.teacher.head_weight,
                    teacher_cap=self.teacher.config.logits_cap,
                )
            )
        return found

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
        num_parameters = self.teacher.num_parameters
        return [*self.data.description(), f"teacher: {num_parameters / 1e6:.2f}M parameters"]

    def account(self) -> Encoding | None:
        return self.data.account()

    def preview(self, num_examples: int) -> list[PreviewedExample]:
        return self.data.preview(num_examples)
