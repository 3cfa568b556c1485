"""How long a private step takes, measured on made-up units: those of the data would tell of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from gptsmith.base.machine import peak_memory_bytes
from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch
from gptsmith.train.private.randomness import KEY_BYTES, PrivateRandomness
from gptsmith.train.private.step import set_private_gradients
from gptsmith.train.settings import TrainSettings

ENOUGH_S = 1.0
"""More units are measured at a time until they take so long."""


def private_pace(model: GPT, train: TrainSettings, tokens_per_unit: float) -> dict[str, Any]:
    """The seconds of a private training and of a step of it, without evaluations, and the most memory that this process
    has had after a step. The model is left as it was, without gradients.

    Args:
        tokens_per_unit: the mean of the units.
    """
    was_training = model.training
    model.train()
    with torch.random.fork_rng(devices=[]):
        try:
            fixed_s, count = _step_s(model, train, []), 1
            while (passes_s := _step_s(model, train, _made_up(model, tokens_per_unit, count)) - fixed_s) < ENOUGH_S:
                if count >= train.batch_size:
                    break
                count = min(2 * count, train.batch_size)
        finally:
            model.zero_grad(set_to_none=True)
            model.train(was_training)
    step_s = fixed_s + train.batch_size * max(passes_s, 0.0) / count
    on_gpu = model.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(model.device) if on_gpu else peak_memory_bytes()
    return {
        "seconds": train.num_steps * step_s,
        "seconds_per_step": step_s,
        "tokens_per_second": train.batch_size * tokens_per_unit / step_s,
        "peak_memory_bytes": peak,
    }


def _step_s(model: GPT, train: TrainSettings, units: Sequence[Sequence[Batch]]) -> float:
    """Seconds of clipped gradients with noise over some units."""
    noise = PrivateRandomness(bytes(KEY_BYTES))
    started = time.perf_counter()
    set_private_gradients(
        model,
        train.objective,
        units,
        clip_norm=train.private.clip_norm,
        noise_multiplier=1.0,
        expected_units=train.batch_size,
        noise=lambda name, like: noise.gaussian(0, name, like),
    )
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter() - started


def _made_up(model: GPT, tokens_per_unit: float, count: int) -> list[list[Batch]]:
    """Units of random tokens, cut into rows that fit in the context."""
    context, left = model.config.context_length, max(2, round(tokens_per_unit))
    lengths = [min(context, left - start) for start in range(0, left, context)]
    ids = torch.randint(model.config.vocab_size, (count, max(lengths) + 1), device=model.device)
    return [[Batch(row[None, :length], row[None, 1 : length + 1]) for length in lengths] for row in ids]
