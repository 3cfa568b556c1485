"""What a run of so many minutes will be, and what is said of it beforehand."""

from __future__ import annotations

from typing import Any

import torch

from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes
from gptsmith.base.machine import memory_bytes, peak_memory_bytes
from gptsmith.data.prepare import PreparedData
from gptsmith.data.shards import TokenStream
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.train.planning.plan import (
    Corpus,
    Plan,
    TooShortError,
    expectation,
    expected_peak_bytes,
    interval,
    plan_seconds,
)
from gptsmith.train.planning.scaling_law import TRAINING_SAMPLE_BYTES, VALIDATION_SAMPLE_BYTES, difficulty
from gptsmith.train.planning.throughput import measured_speed
from gptsmith.train.settings import TrainSettings

NUM_EVALUATIONS = 10
FORWARD_SHARE = 1 / 3
"""A forward pass, of a whole training step."""
SAMPLE_PIECES = 64
CLOSING_S = 1.0
"""Saving the last checkpoint and leaving."""


def corpus_of(data: PreparedData) -> Corpus:
    """What a plan needs to know of prepared text."""
    return Corpus(len(data.train), data.train.num_bytes, difficulty(*sample_of(data)))


def sample_of(data: PreparedData) -> tuple[bytes, bytes]:
    """Pieces of the training text and of the validation text; of the training text alone where there is no other."""
    training = _text(data, data.train, TRAINING_SAMPLE_BYTES)
    if data.validation is not None:
        return training, _text(data, data.validation, VALIDATION_SAMPLE_BYTES)
    cut = min(len(training) // 10, VALIDATION_SAMPLE_BYTES)
    return training[:-cut], training[-cut:]


def _text(data: PreparedData, stream: TokenStream, num_bytes: int) -> bytes:
    """About so many bytes of a stream, in pieces that are spread over it."""
    num_tokens = min(len(stream), round(num_bytes * len(stream) / stream.num_bytes))
    length = max(1, num_tokens // SAMPLE_PIECES)
    starts = [number * (len(stream) - length) // SAMPLE_PIECES for number in range(SAMPLE_PIECES)]
    return b"".join(data.tokenizer.decode_bytes(stream.slice(at, at + length).tolist()) for at in starts)


def plan_minutes(
    minutes: float,
    elapsed_seconds: float,
    corpus: Corpus,
    num_validation_tokens: int,
    base: dict[str, Any],
    shape_is_given: bool,
    params: int | None,
    train: TrainSettings,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Plan, dict[str, Any]]:
    """The plan for a whole process of so many minutes, of which some seconds are gone, and what it promises.

    Raises:
        UserError: the time is too short to train anything.
    """
    speed = measured_speed(device, dtype)
    evaluated = NUM_EVALUATIONS * min(train.evaluation_tokens, num_validation_tokens) + num_validation_tokens
    before = elapsed_seconds
    left = minutes * 60 - before - CLOSING_S
    try:
        plan = plan_seconds(
            left,
            corpus,
            speed.seconds_per_token,
            base,
            params=params,
            fixed_shape=shape_is_given,
            other_tokens=evaluated * FORWARD_SHARE,
        )
    except TooShortError as error:
        needed = (minutes * 60 + error.missing_seconds) / 60
        raise UserError(
            f"--minutes {minutes:g} is too short to train on this text here: about {needed:.2g} is the least that works"
        ) from None
    config = GPTConfig.parse({**base, **plan.model})
    per_token = speed.seconds_per_token(config)
    figures = cost(config)
    said: dict[str, Any] = {
        "seconds": before + CLOSING_S + (plan.num_tokens + evaluated * FORWARD_SHARE) * per_token,
        "num_parameters": figures.num_parameters,
        "num_tokens": plan.num_tokens,
        "num_steps": plan.num_steps,
        "tokens_per_step": plan.tokens_per_step,
        "epochs": plan.num_tokens / max(corpus.num_tokens, 1),
        "tokens_per_second": 1 / per_token,
    }
    micro_batch = min(plan.tokens_per_step, (train.micro_batch_size or 10**9) * config.context_length)
    num_states = 2 if train.optimizer.kind == "adamw" else 1
    now, peak = memory_bytes(), peak_memory_bytes()
    if now is not None and peak is not None:
        training = expected_peak_bytes(config, micro_batch, now, num_states, dtype.itemsize)
        said["peak_memory_bytes"] = max(peak, training)
    if not shape_is_given:
        embedded = figures.num_parameters - 2 * config.vocab_size * config.embed_dim
        said["bits_per_byte"] = expectation(plan.num_tokens, embedded, corpus)
        said["bits_per_byte_low"], said["bits_per_byte_high"] = interval(said["bits_per_byte"])
    return plan, said


def said_in_a_line(said: dict[str, Any]) -> str:
    """What a plan promises, for a person."""
    parts = [f"{said['seconds'] / 60:.1f} minutes in all", f"{said['epochs']:.1f} epochs"]
    if "peak_memory_bytes" in said:
        parts.append(f"{readable_bytes(said['peak_memory_bytes'])} of memory")
    if "bits_per_byte" in said:
        low, high = said["bits_per_byte_low"], said["bits_per_byte_high"]
        parts.append(f"{said['bits_per_byte']:.2f} bits per byte ({low:.2f} to {high:.2f})")
    return f"planned: {', '.join(parts)}"
