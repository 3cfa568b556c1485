"""A dataset with a teacher: the batches of another dataset, with a larger model's hidden states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import Dataset
from gptsmith.train.datasets.beside import beside
from gptsmith.train.datasets.wrapped import WrappedDataset


@dataclass(frozen=True, kw_only=True)
class DistillationBatch(Batch):
    """A batch with the teacher's hidden states at the N positions that have a target, (N, its width), its head, and its
    cap of logits."""

    teacher_hidden: Tensor
    teacher_head: Tensor
    teacher_cap: float | None


class DistillationDataset(WrappedDataset):
    """Each batch of another dataset, with the teacher's hidden states. The validation loss is the other dataset's."""

    def __init__(self, data: Dataset, teacher: GPT) -> None:
        super().__init__(data)
        self.teacher = teacher.eval().requires_grad_(False)

    @torch.no_grad()
    def batches(
        self,
        model: GPT,
        first_sample: int,
        num_samples: int,
        micro_batch_size: int,
        processes: Processes = SINGLE_PROCESS,
    ) -> list[Batch]:
        self.teacher = beside(self.teacher, model)  # of one in shards, what is in no block stays gathered: its head is
        found: list[Batch] = []
        for batch in self.data.batches(model, first_sample, num_samples, micro_batch_size, processes):
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

    def description(self) -> list[str]:
        num_parameters = self.teacher.num_parameters
        return [*self.data.description(), f"teacher: {num_parameters / 1e6:.2f}M parameters"]
