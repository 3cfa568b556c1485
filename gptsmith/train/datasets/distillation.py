"""Learning from a teacher: the data of another set, with what a larger model makes of it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.train.datasets.base import Score, TrainingSet
from gptsmith.train.objectives import Batch
from gptsmith.train.objectives.distillation import TaughtBatch


class TaughtSet(TrainingSet):
    """Each batch of `taught`, with the teacher's hidden states. The text alone validates."""

    def __init__(self, taught: TrainingSet, teacher: GPT) -> None:
        super().__init__()
        self.taught, self.teacher = taught, teacher.eval()
        self.num_samples, self.tokens_per_sample = taught.num_samples, taught.tokens_per_sample
        self.num_validation_tokens = taught.num_validation_tokens

    @torch.no_grad()
    def batches(self, model: GPT, first_sample: int, num_samples: int, micro_batch_size: int) -> list[Batch]:
        self.teacher.to(model.device)
        found: list[Batch] = []
        for batch in self.taught.batches(model, first_sample, num_samples, micro_batch_size):
            states = self.teacher.hidden(batch.input_ids, segments=batch.segments)[batch.targets != IGNORED]
            found.append(TaughtBatch(**vars(batch), teacher_hidden=states, teacher_head=self.teacher.head_weight))
        return found

    def score(
        self,
        model: GPT,
        *,
        max_tokens: int | None = None,
        observe: Callable[[int], None] = lambda _: None,
        processes: Processes = SINGLE_PROCESS,
    ) -> Score:
        return self.taught.score(model, max_tokens=max_tokens, observe=observe, processes=processes)

    def sample(self, model: GPT, seed: int) -> str:
        return self.taught.sample(model, seed)

    def origin(self, first_sample: int, num_samples: int) -> str:
        return self.taught.origin(first_sample, num_samples)

    def description(self) -> list[str]:
        num_parameters = sum(parameter.numel() for parameter in self.teacher.parameters())
        return [*self.taught.description(), f"teacher: {num_parameters / 1e6:.2f}M parameters"]
