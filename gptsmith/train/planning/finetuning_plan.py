"""The plan of a fine-tuning: the steps that fit into a time, the memory that they take, and what to change if they do
not fit."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.machine import free_memory_bytes, memory_bytes, peak_memory_bytes
from gptsmith.base.notices import Notice
from gptsmith.base.settings import merged
from gptsmith.model.gpt import GPT
from gptsmith.train.datasets.base import Dataset
from gptsmith.train.finetuning import FinetuningJob
from gptsmith.train.finetuning_defaults import NUM_EVALUATIONS, step_table
from gptsmith.train.optimizers import trained_parameters
from gptsmith.train.planning.finetuning_advice import on_checkpointing, on_evaluations, on_time, too_large
from gptsmith.train.planning.measured_step import MeasuredStep, kept_bytes, measure_step
from gptsmith.train.planning.memory import MEMORY_SHARE, TuningMemory, head_bytes, program_bytes, samples_per_pass
from gptsmith.train.planning.time_budget import CLOSING_S
from gptsmith.train.run_settings import FinetuneSettings

STEPS_WANTED, LEAST_STEPS = 32, 8
"""Steps have fewer samples where a time would not hold so many; fewer than the least are no training."""
EVALUATION_SHARE, LEAST_EVALUATION_TOKENS = 0.1, 1024
"""The share of a time that evaluations during training may take, and the tokens that each has at least."""
LARGE_CLOSING_SHARE = 0.25
WRITTEN_BYTES_PER_S = 3e8
"""Of the last checkpoint."""


class TooLittleTimeError(UserError):
    """A time that trains nothing; so many minutes are the least that does."""

    def __init__(self, message: str, needed_minutes: float) -> None:
        super().__init__(message)
        self.needed_minutes = needed_minutes


class TooLittleMemoryError(UserError):
    """Memory in which nothing can be trained; so many bytes are the least."""

    def __init__(self, message: str, needed_bytes: int, limit_bytes: float) -> None:
        super().__init__(message)
        self.needed_bytes, self.limit_bytes = needed_bytes, limit_bytes


@dataclass(frozen=True)
class FinetuningPlan:
    """How a model will be tuned, and what that takes.

    Attributes:
        job: the job with the settings that were chosen.
        predicted: the figures of it.
        advice: sentences for a person on what was changed, and what could be.
        closing_s: seconds between the last step and the end, without the whole validation set's evaluation.
        max_steps: those of the epochs that are useful.
    """

    job: FinetuningJob
    predicted: dict[str, Any]
    advice: list[Notice]
    closing_s: float
    max_steps: int

    def table(self) -> dict[str, Any]:
        """The content of plan.json."""
        settings, dataset = self.job.settings, self.job.dataset
        minutes = settings.request.minutes
        return {
            "predicted": self.predicted,
            "budget_seconds": None if minutes is None else minutes * 60,
            "closing_seconds": self.closing_s,
            "max_steps": self.max_steps,
            "tokens_per_step": self.predicted["tokens_per_step"],
            "tokens_per_epoch": dataset.num_samples * dataset.tokens_per_sample,
        }


def plan_finetuning(job: FinetuningJob, given: Mapping[str, Any], started: float) -> FinetuningPlan:
    """The plan of a job, from a step that is measured with its model on its examples.

    Args:
        given: the settings of the group `train` that a person wrote: they stay as they are.
        started: the `time.monotonic()` from which the time counts.

    Raises:
        TooLittleMemoryError, TooLittleTimeError: there is not enough memory, or the time is too short.
    """
    size, checkpointing, peak_bytes, advice = _fitted(job, given)
    train = job.settings.train
    measured = measure_step(job.model, job.dataset, train, size)
    minutes = job.settings.request.minutes
    elapsed_s = time.monotonic() - started
    closing_s = _closing_s(job, measured)
    validation_s = job.dataset.num_validation_tokens * measured.evaluation_s_per_token
    changes: dict[str, Any] = {"micro_batch_size": size if size < train.batch_size else train.micro_batch_size}
    changes |= {"gradient_checkpointing": checkpointing}
    if minutes is not None:
        left_s = minutes * 60 - elapsed_s - closing_s - validation_s
        changes |= _timed(job, given, measured, left_s, minutes, elapsed_s)
        if closing_s + validation_s > LARGE_CLOSING_SHARE * minutes * 60:
            advice.append(on_evaluations(minutes, (closing_s + validation_s) / 60))
    job = _changed(job, changes, given)
    train = job.settings.train
    evaluations_s = _num_evaluations(train.num_steps, train.evaluate_every_steps) * _evaluation_s(
        job.dataset, measured, train.evaluation_tokens
    )
    steps_s = train.num_steps * measured.step_s(train.batch_size)
    max_steps = _max_steps(job)
    predicted = {
        "seconds": elapsed_s + steps_s + evaluations_s + validation_s + closing_s,
        **_figures(job, measured),
        "peak_memory_bytes": max(peak_bytes, peak_memory_bytes() or 0),
    }
    advice += on_time(job.settings.request.minutes, predicted, max_steps)
    return FinetuningPlan(job, predicted, advice, closing_s, max_steps)


def _figures(job: FinetuningJob, measured: MeasuredStep) -> dict[str, Any]:
    """The figures of a plan besides its time and its memory."""
    settings, dataset = job.settings, job.dataset
    train = settings.train
    tokens_per_step = train.batch_size * dataset.tokens_per_sample
    epochs = train.num_steps * train.batch_size / dataset.num_samples
    return {
        "objective": train.objective.kind,
        "num_steps": train.num_steps,
        "decay_fraction": train.schedule.decay_fraction,
        "epochs": epochs,
        "examples_seen_fraction": min(epochs, 1.0),
        "num_tokens": train.num_steps * tokens_per_step,
        "tokens_per_step": tokens_per_step,
        "seconds_per_step": measured.step_s(train.batch_size),
        "tokens_per_second": tokens_per_step / max(measured.step_s(train.batch_size), 1e-9),
        "batch_size": train.batch_size,
        "micro_batch_size": min(train.micro_batch_size or train.batch_size, train.batch_size),
        "gradient_checkpointing": train.gradient_checkpointing,
        "context_length": settings.model.context_length,
        "lora_rank": settings.request.lora,
        "num_parameters": job.model.num_parameters,
        "num_trained_parameters": _num_trained(job.model),
    }


def _fitted(job: FinetuningJob, given: Mapping[str, Any]) -> tuple[int, bool, int, list[Notice]]:
    """The micro-batch and the gradient checkpointing that fit, the peak memory with them, and what is said of it.

    Raises:
        TooLittleMemoryError: nothing fits.
    """
    train, dataset, model = job.settings.train, job.dataset, job.model
    wanted = train.micro_batch_size or min(train.batch_size, samples_per_pass(model.config, dataset.longest_sample))
    available = free_memory_bytes() if model.device.type == "cpu" else None
    free = math.inf if available is None else MEMORY_SHARE * available
    ways = (False, True) if "gradient_checkpointing" not in given else (train.gradient_checkpointing,)
    for checkpointing in ways:
        model.use_gradient_checkpointing(checkpointing)
        memory = _memory(job, free)
        limit = memory.bytes_now + free
        size = memory.largest_micro_batch(limit, wanted)
        if size is None or ("micro_batch_size" in given and size != wanted):
            continue
        is_news = checkpointing and len(ways) > 1
        return size, checkpointing, memory.peak_bytes(size), [on_checkpointing(limit)] if is_news else []
    raise TooLittleMemoryError(
        too_large(job.settings.request, job.model.config, memory, limit), memory.peak_bytes(1), limit
    )


def _memory(job: FinetuningJob, free: float) -> TuningMemory:
    train, model = job.settings.train, job.model
    bytes_now = memory_bytes() or 0
    return TuningMemory(
        bytes_now=bytes_now,
        num_trained=_num_trained(model),
        state_bytes_per_parameter=train.optimizer.state_bytes_per_parameter,
        head_bytes=head_bytes(model.config, job.dataset.longest_sample, model.dtype, model.device),
        program_bytes=program_bytes(model.dtype, model.device),
        kept=kept_bytes(model, job.dataset, train, free),
        longest_sample=job.dataset.longest_sample,
    )


def _timed(
    job: FinetuningJob,
    given: Mapping[str, Any],
    measured: MeasuredStep,
    left_s: float,
    minutes: float,
    elapsed_s: float,
) -> dict[str, Any]:
    """The settings with which the steps and the evaluations among them take `left_s`.

    Raises:
        TooLittleTimeError: that is too short for a training.
    """
    train, dataset = job.settings.train, job.dataset
    evaluation_tokens = train.evaluation_tokens
    if "evaluation_tokens" not in given:
        affordable = EVALUATION_SHARE * left_s / (NUM_EVALUATIONS + 1) / max(measured.evaluation_s_per_token, 1e-12)
        evaluation_tokens = max(LEAST_EVALUATION_TOKENS, min(evaluation_tokens, int(affordable)))
    evaluations_s = (NUM_EVALUATIONS + 1) * _evaluation_s(dataset, measured, evaluation_tokens)
    steps_s = left_s - evaluations_s
    batch_size = train.batch_size
    if "batch_size" not in given:
        while batch_size > 1 and steps_s < STEPS_WANTED * measured.step_s(batch_size):
            batch_size //= 2
    max_steps = _max_steps(job, batch_size)
    num_steps = min(int(steps_s / measured.step_s(batch_size)), max_steps)
    if num_steps < (least := min(LEAST_STEPS, max_steps)):
        needed_s = minutes * 60 - steps_s + least * measured.step_s(batch_size)
        needed_minutes = math.ceil(needed_s / 6) / 10
        raise TooLittleTimeError(
            Notice(
                f"--minutes {minutes:g} is too short to tune {job.settings.request.base} on this data here: about "
                f"{needed_minutes:g} is the least that works",
                "too_short",
                minutes=minutes,
                needed_minutes=needed_minutes,
            ),
            needed_minutes,
        )
    return {"batch_size": batch_size, "evaluation_tokens": evaluation_tokens, **step_table(num_steps)}


def _changed(job: FinetuningJob, changes: dict[str, Any], given: Mapping[str, Any]) -> FinetuningJob:
    """The job with other settings of the group `train`, but for those that are given."""
    kept = {name: given[name] for name in changes.keys() & given.keys()}
    plain = job.settings.plain()
    table = merged(merged({"train": plain["train"]}, {"train": changes}), {"train": kept})
    return replace(job, settings=FinetuneSettings.parse({**plain, **table}))


def _max_steps(job: FinetuningJob, batch_size: int | None = None) -> int:
    """The steps of the epochs that are requested, or else usual."""
    train = job.settings.train
    epochs = job.settings.request.epochs or train.objective.usual_epochs
    return max(1, math.ceil(epochs * job.dataset.num_samples / (batch_size or train.batch_size)))


def _num_evaluations(num_steps: int, every: int) -> int:
    """Evaluations during training: before the first step, and among the others."""
    return 1 + math.ceil(num_steps / every)


def _evaluation_s(dataset: Dataset, measured: MeasuredStep, evaluation_tokens: int) -> float:
    return min(evaluation_tokens, dataset.num_validation_tokens) * measured.evaluation_s_per_token


def _closing_s(job: FinetuningJob, measured: MeasuredStep) -> float:
    """Seconds from the last evaluation on: the test split, what the base knew, the last checkpoint."""
    dataset, train = job.dataset, job.settings.train
    known_s = 0.0 if dataset.known_text is None else dataset.known_text.seconds
    if dataset.known_answers is not None:
        started = time.monotonic()
        dataset.known_answers.kept(job.model)
        known_s += time.monotonic() - started
    written = _num_trained(job.model) * (4 + train.optimizer.state_bytes_per_parameter)
    test_s = dataset.num_test_tokens * measured.evaluation_s_per_token
    return CLOSING_S + known_s + test_s + written / WRITTEN_BYTES_PER_S


def _num_trained(model: GPT) -> int:
    return sum(parameter.numel() for parameter in trained_parameters(model).values())
