"""Learning from single completions that are desirable or undesirable: KTO (Ethayarajh et al. 2024, equation 8).

The reward of a completion, beta times the log-ratio of its likelihood to that under the reference model, is compared
with the KL divergence between the two models. That is estimated over the batch of a step, from completions that belong
to other prompts, and no gradient flows through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.example_store import ExampleSequence
from gptsmith.data.shapes import Example
from gptsmith.data.shapes.unpaired_preference import UnpairedPreferenceExample
from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.text.chat_template import Encoded
from gptsmith.train.batch import Batch, sequence_log_likelihoods
from gptsmith.train.datasets.base import PreviewedExample
from gptsmith.train.datasets.examples import ExampleObjective
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives import PREFERENCE_LEARNING_RATE, PREFERENCE_LORA_LEARNING_RATE, Term
from gptsmith.train.samples import Sample, padded


@dataclass(frozen=True)
class KtoExample(UnpairedPreferenceExample):
    """A completion, desirable or not, with another example's completion, from which the KL divergence is estimated."""

    other_completion: str


@dataclass(frozen=True, kw_only=True)
class KtoBatch(Batch):
    """Conversations (2 N, T): each one with its completion, and after it the one with the other completion."""

    is_desirable: Tensor
    """(N), whether each conversation's own completion is a desirable one."""
    reference: Tensor | None = None
    """(2 N), the log-likelihoods of the completions under the reference model."""
    kl: Tensor | None = None
    """(), the KL divergence from the reference model, estimated over all micro-batches of the step."""

    @property
    def num_tokens(self) -> int:
        return int((self.targets[0::2] != IGNORED).sum())


class KtoSettings(ExampleObjective):
    """With r the log-ratio of a completion's likelihood to that under the reference model: desirable_weight (1 -
    sigmoid(beta (r - KL))) for desirable completions, undesirable_weight (1 - sigmoid(beta (KL - r))) for others."""

    kind: Literal["kto"] = "kto"
    shapes: ClassVar[tuple[str, ...]] = ("unpaired_preference",)
    priority: ClassVar[int] = 1
    usual_learning_rate: ClassVar[float] = PREFERENCE_LEARNING_RATE
    usual_lora_learning_rate: ClassVar[float] = PREFERENCE_LORA_LEARNING_RATE
    beta: float = Field(default=0.1, gt=0)
    """How strongly the model is kept close to the reference model."""
    desirable_weight: float = Field(default=1.0, ge=0)
    """The weight of desirable completions."""
    undesirable_weight: float = Field(default=1.0, ge=0)
    """The weight of undesirable completions. If one sort is rarer, give it the higher weight, so that number times
    weight of the two are within 1:1 to 4:3."""

    @property
    def uses_reference_model(self) -> bool:
        return True

    def completed_splits(self, splits: ExampleSplits) -> ExampleSplits:
        return replace(
            splits,
            train=WithOtherCompletions(splits.train),
            validation=WithOtherCompletions(splits.validation),
            test=WithOtherCompletions(splits.test),
        )

    def sample(self, example: Example, encoder: Encoder) -> Sample:
        kto = cast(KtoExample, example)
        fitted = encoder.completions(kto.messages, (kto.completion,))
        start = 1 if kto.messages and kto.messages[0]["role"] == "system" else 0
        kept = [*kto.messages[:start], *kto.messages[start + fitted.num_omitted :]]
        # The other completion may be too long for this prompt: its beginning is as good a sample.
        ending = {"role": "assistant", "content": kto.other_completion}
        other = encoder.template.encode(encoder.tokenizer, [*kept, ending], only_last=True)
        longest = encoder.context_length
        return Sample(
            example.place,
            [*fitted.sequences, Encoded(other.ids[:longest], other.trained[:longest])],
            label=int(kto.is_desirable),
            num_omitted=fitted.num_omitted,
        )

    def collate(self, rows: Sequence[Sequence[Sample]]) -> KtoBatch:
        samples = [sample for row in rows for sample in row]
        reference = [value for sample in samples for value in sample.reference]
        return KtoBatch(
            *padded([sequence for sample in samples for sequence in sample.sequences]),
            is_desirable=torch.tensor([bool(sample.label) for sample in samples]),
            reference=torch.tensor(reference, dtype=torch.float64) if reference else None,
        )

    @torch.no_grad()
    def estimate(self, model: GPT, batches: Iterable[Batch], processes: Processes = SINGLE_PROCESS) -> Tensor | None:
        """(), the KL divergence from the reference model."""
        found = [_log_ratios(model, cast(KtoBatch, batch), slice(1, None, 2)) for batch in batches]
        if not found:
            return None
        log_ratios = torch.cat(found)
        total, count = processes.all_reduce_sum([float(log_ratios.double().sum()), len(log_ratios)])
        return log_ratios.new_tensor(max(total / count, 0.0))

    def with_estimate(self, batch: Batch, estimate: Tensor | None) -> Batch:
        return replace(cast(KtoBatch, batch), kl=estimate)

    def preview(self, sample: Sample) -> PreviewedExample:
        return PreviewedExample(sample.place, sample.sequences[:1], "desirable" if sample.label else "undesirable")

    def counts(self, batch: Batch) -> dict[str, int]:
        return dict.fromkeys((self.kind, "accuracy"), len(batch.input_ids) // 2)

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        kto, counts = cast(KtoBatch, batch), self.counts(batch)
        assert kto.kl is not None, "the dataset completes the batches of a step"
        advantage = _log_ratios(model, kto, slice(0, None, 2)) - kto.kl  # (N)
        sign = torch.where(kto.is_desirable, 1.0, -1.0).to(advantage.dtype)
        desirable, undesirable = advantage.new_tensor([self.desirable_weight, self.undesirable_weight])
        weight = torch.where(kto.is_desirable, desirable, undesirable)
        each = weight * (1 - torch.sigmoid(self.beta * sign * advantage))
        return {
            self.kind: Term(each.sum(), counts[self.kind]),
            "accuracy": Term((sign * advantage > 0).sum(), counts["accuracy"], weight=0.0),
        }


class WithOtherCompletions(ExampleSequence):
    """Each example of a split with the completion of the next one, that of the last with the first's."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = cast(Sequence[UnpairedPreferenceExample], examples)

    def __len__(self) -> int:
        return len(self._examples)

    def example(self, number: int) -> KtoExample:
        following = self._examples[(number + 1) % len(self)]
        return KtoExample(**vars(self._examples[number]), other_completion=following.completion)


def _log_ratios(model: GPT, batch: KtoBatch, rows: slice) -> Tensor:
    """The log-ratio of some rows' likelihoods to those under the reference model."""
    assert batch.reference is not None, "the dataset adds the reference log-likelihoods"
    log_likelihoods = sequence_log_likelihoods(model, batch.input_ids[rows], batch.targets[rows])
    return log_likelihoods - batch.reference[rows].to(log_likelihoods.dtype)
