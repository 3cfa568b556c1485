"""A step of fine-tuning, measured in seconds with the real model on real examples. No weight moves."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gptsmith.base.memory import keep_freed_memory
from gptsmith.model.cost import cost
from gptsmith.model.gpt import GPT, Block
from gptsmith.model.memory import KeptBytes, recorded_kept
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import Dataset
from gptsmith.train.objectives import mean_terms
from gptsmith.train.settings import TrainSettings
from gptsmith.train.stability import gradient_norm
from gptsmith.train.step import accumulate

ENOUGH_S = 1.0
"""More samples are measured at a time until a pass takes so long."""
LONG_S = 5.0
"""A pass that takes longer is not measured again."""
FORWARD_SHARE = 1 / 2
"""The forward pass of one that was not measured, at most: with adapters the backward pass takes as long."""


@dataclass(frozen=True)
class MeasuredStep:
    """The time of training, by its parts.

    Attributes:
        sample_s: reading an average sample (for rollouts: sampling completions), its forward and its backward pass.
        update_s: the optimizer's move.
        evaluation_s_per_token: an evaluation.
    """

    sample_s: float
    update_s: float
    evaluation_s_per_token: float

    def step_s(self, batch_size: int) -> float:
        """Seconds of a step."""
        return batch_size * self.sample_s + self.update_s


def measure_step(model: GPT, dataset: Dataset, train: TrainSettings, max_samples: int) -> MeasuredStep:
    """Times passes over the first samples of the first epoch, at most `max_samples` at a time."""
    with _untouched(model):
        model.train()
        count = 1
        reading_s, passes_s, batches = _timed_pass(model, dataset, train, count)
        if max_samples == 1 and reading_s + passes_s < LONG_S:  # the first pass pays for what later ones find ready
            reading_s, passes_s, batches = _timed_pass(model, dataset, train, count)
        while count < max_samples and reading_s + passes_s < ENOUGH_S:
            count = min(2 * count, max_samples)
            reading_s, passes_s, batches = _timed_pass(model, dataset, train, count)
        update_s = _update_s(model, train)
        num_tokens = dataset.num_tokens_of(0, count)
        if dataset.evaluates_by_sampling:
            evaluation_s = reading_s
        elif passes_s < LONG_S:
            evaluation_s = _forward_s(model, train, batches)
        else:
            evaluation_s = passes_s * FORWARD_SHARE
        dataset.step_figures()  # those of these samples are nobody's
    return MeasuredStep(
        (reading_s + passes_s) * dataset.tokens_per_sample / num_tokens, update_s, evaluation_s / num_tokens
    )


def kept_bytes(model: GPT, dataset: Dataset, train: TrainSettings, limit_bytes: float) -> KeptBytes:
    """What the forward pass of the first sample leaves for the backward pass, with the model's own gradient
    checkpointing.

    Args:
        limit_bytes: what there is memory for. More than that is not tried, but estimated from the shapes.
    """
    with _untouched(model) as checkpointing:
        model.train()
        batches = dataset.batches(model, 0, 1, 1)
        num_tokens = max(dataset.num_tokens_of(0, 1), 1)
        itemsize = model.dtype.itemsize
        activations, copies = int(cost(model.config).activation_bytes_per_token * itemsize / 4 * num_tokens), 0
        if checkpointing or activations <= limit_bytes:
            if checkpointing:  # one block at a time has all of its own again
                _first_block(model).recomputes = False
            activations, copies = _kept_of_pass(model, train, batches)
        dataset.step_figures()
    return KeptBytes(activations / num_tokens, copies)


def _first_block(model: GPT) -> Block:
    block = model.blocks[0]
    assert isinstance(block, Block)
    return block


def _kept_of_pass(model: GPT, train: TrainSettings, batches: list[Batch]) -> tuple[int, int]:
    """Bytes of activations, and of copies of weights, that a forward pass keeps."""
    with recorded_kept(model) as kept:
        terms = [train.objective.loss(model, batch) for batch in batches]
    del terms
    return kept.num_bytes(of_weights=False), kept.num_bytes(of_weights=True)


@contextmanager
def _untouched(model: GPT) -> Iterator[bool]:
    """Leaves a model, and PyTorch's random numbers, as they were. Gives whether the model recomputes its blocks."""
    keep_freed_memory()
    was_training, recomputes = model.training, any(getattr(block, "recomputes", False) for block in model.blocks)
    with torch.random.fork_rng(devices=[]):
        try:
            yield recomputes
        finally:
            model.zero_grad(set_to_none=True)
            model.train(was_training)
            model.use_gradient_checkpointing(recomputes)


def _timed_pass(model: GPT, dataset: Dataset, train: TrainSettings, count: int) -> tuple[float, float, list[Batch]]:
    """Seconds of reading so many samples, and of their forward and backward pass; and the samples."""
    model.zero_grad(set_to_none=True)
    started = time.perf_counter()
    batches = dataset.batches(model, 0, count, count)
    read = time.perf_counter()
    accumulate(model, train.objective, batches)
    _wait(model)
    return read - started, time.perf_counter() - read, batches


def _forward_s(model: GPT, train: TrainSettings, batches: list[Batch]) -> float:
    model.eval()
    started = time.perf_counter()
    mean_terms(model, train.objective, batches)
    return time.perf_counter() - started


def _update_s(model: GPT, train: TrainSettings) -> float:
    """Seconds of the optimizer's step, with a rate of 0; the first one makes its states, and is not counted."""
    if not math.isfinite(gradient_norm(model)):  # 0 times infinity would reach the weights
        return 0.0
    optimizer = train.optimizer.build(model)
    gradients = {parameter: parameter.grad for parameter in model.parameters() if parameter.grad is not None}
    seconds = 0.0
    for _ in range(2):
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        started = time.perf_counter()
        optimizer.step(0.0)
        _wait(model)
        seconds = time.perf_counter() - started
    return seconds


def _wait(model: GPT) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
