"""Distillation: a small model learns the probabilities that a large one gives to every token (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field
from torch.nn import functional

from gptsmith.base.errors import ConfigurationError
from gptsmith.convert.load import Loaded, load
from gptsmith.convert.open import open_model
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.shapes import TEXT
from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.cross_entropy import head_logits
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import DatasetInputs
from gptsmith.train.datasets.distillation import DistillationBatch, DistillationDataset
from gptsmith.train.objectives import ObjectiveSettings, Term
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.objectives.sft import SftSettings


class DistillationSettings(ObjectiveSettings):
    """alpha T^2 KL(teacher || student), both at temperature T, + (1 - alpha) -ln p(token)."""

    kind: Literal["distillation"] = "distillation"
    shapes: ClassVar[tuple[str, ...]] = ("chat", TEXT)
    teacher: str = ""
    """The run of the teacher; it must have the same vocabulary."""
    temperature: float = Field(default=1.0, gt=0)
    """T: above 1, unlikely tokens count for more."""
    alpha: float = Field(default=0.5, gt=0, le=1)
    """The weight of the teacher's probabilities in the loss; the rest is that of the data."""

    @classmethod
    def for_examples(cls, table: Mapping[str, Any], splits: ExampleSplits) -> Self:
        if not table.get("teacher"):
            raise ConfigurationError("distillation needs a teacher: --set train.objective.teacher=runs/large")
        return super().for_examples(table, splits)

    def dataset(self, inputs: DatasetInputs) -> DistillationDataset:
        source = NextTokenSettings() if inputs.text is not None else SftSettings()
        return DistillationDataset(source.dataset(inputs), self._teacher(inputs))

    def _teacher(self, inputs: DatasetInputs) -> GPT:
        """The teacher; mapped into memory from its files, if shards will be made of it.

        Raises:
            ConfigurationError: it does not read what the student reads.
        """
        encoder, opened = inputs.encoder, open_model(inputs.locate(self.teacher))
        teacher = Loaded(opened, opened.model("cpu")) if inputs.is_shared else load(opened, device="cpu")
        if teacher.tokenizer.fingerprint != encoder.tokenizer.fingerprint:
            raise ConfigurationError(
                f"{self.teacher} has another tokenizer than the student: distil between runs that share one "
                "(pretrain the student with --tokenizer and the teacher's folder)"
            )
        if teacher.config.context_length < encoder.context_length:
            raise ConfigurationError(
                f"{self.teacher} has a context of {teacher.config.context_length} tokens and the student one of "
                f"{encoder.context_length}: set model.context_length to that of the teacher"
            )
        teacher.model.compute_dtype = inputs.model.compute_dtype
        return teacher.model

    def counts(self, batch: Batch) -> dict[str, int]:
        return dict.fromkeys((self.kind, "cross_entropy"), batch.num_tokens)

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        with_teacher, has_target = cast(DistillationBatch, batch), batch.targets != IGNORED
        hidden = model.hidden(batch.input_ids, segments=batch.segments)
        with torch.no_grad():
            logits = head_logits(with_teacher.teacher_hidden, with_teacher.teacher_head, with_teacher.teacher_cap)
            teacher = functional.log_softmax(logits / self.temperature, dim=-1)
        logits = head_logits(hidden[has_target], model.head_weight, model.config.logits_cap)
        student = functional.log_softmax(logits / self.temperature, dim=-1)
        divergence = functional.kl_div(student, teacher, reduction="sum", log_target=True) * self.temperature**2
        nats = functional.cross_entropy(logits, batch.targets[has_target], reduction="sum")
        return {
            self.kind: Term(divergence, batch.num_tokens, self.alpha),
            "cross_entropy": Term(nats, batch.num_tokens, 1 - self.alpha),
        }
