"""The plan of a run for a number of minutes, and the figures that it predicts."""

from __future__ import annotations

from typing import Any

import torch

from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes
from gptsmith.base.machine import memory_bytes, peak_memory_bytes
from gptsmith.base.notices import Notice
from gptsmith.data.prepare import PreparedData
from gptsmith.data.shards import TokenStream
from gptsmith.model import attention
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.train.planning.compile_trial import with_compiling
from gptsmith.train.planning.memory import expected_peak_bytes
from gptsmith.train.planning.plan import (
    USEFUL_EPOCHS,
    Corpus,
    Plan,
    TooShortError,
    expectation,
    interval,
    plan_seconds,
)
from gptsmith.train.planning.scaling_law import TRAINING_SAMPLE_BYTES, VALIDATION_SAMPLE_BYTES, difficulty
from gptsmith.train.planning.throughput import attended_elements, measured_speed, slow_attention_s
from gptsmith.train.settings import TrainSettings

NUM_EVALUATIONS = 10
FORWARD_SHARE = 1 / 3
"""A forward pass, as a share of a training step."""
NUM_SAMPLE_CHUNKS = 64
CLOSING_S = 1.0
"""Saving the last checkpoint and leaving."""


def corpus_of(data: PreparedData) -> Corpus:
    """The properties of prepared text that a plan depends on."""
    return Corpus(len(data.train), data.train.num_bytes, difficulty(*sample_of(data)))


def sample_of(data: PreparedData) -> tuple[bytes, bytes]:
    """Chunks of the training text and of the validation text; of the training text alone if there is no other."""
    training = _text(data, data.train, TRAINING_SAMPLE_BYTES)
    if data.validation is not None:
        return training, _text(data, data.validation, VALIDATION_SAMPLE_BYTES)
    cut = min(len(training) // 10, VALIDATION_SAMPLE_BYTES)
    return training[:-cut], training[-cut:]


def _text(data: PreparedData, stream: TokenStream, num_bytes: int) -> bytes:
    """About so many bytes of a stream, in chunks that are spread over it."""
    num_tokens = min(len(stream), round(num_bytes * len(stream) / stream.num_bytes))
    length = max(1, num_tokens // NUM_SAMPLE_CHUNKS)
    starts = [number * (len(stream) - length) // NUM_SAMPLE_CHUNKS for number in range(NUM_SAMPLE_CHUNKS)]
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
    may_compile: bool = True,
    num_shards: int = 1,
) -> tuple[Plan, dict[str, Any]]:
    """The plan for a process of so many minutes, of which some seconds have elapsed, and the figures it predicts.

    Args:
        may_compile: whether compiled blocks are tried where `train` leaves them open.
        num_shards: the processes that hold the model together.

    Raises:
        UserError: the time is too short to train anything.
    """
    speed = measured_speed(device, dtype)
    slow_s = slow_attention_s(attention.KINDS.validate(base.get("attention", {})), speed, device, dtype)

    def seconds_per_token(config: GPTConfig, tokens_per_step: int) -> float:
        return speed.seconds_per_token(config, tokens_per_step) + slow_s * attended_elements(config)

    evaluated = NUM_EVALUATIONS * min(train.evaluation_tokens, num_validation_tokens) + num_validation_tokens
    left_s = minutes * 60 - elapsed_seconds - CLOSING_S
    try:
        plan = plan_seconds(
            left_s,
            corpus,
            seconds_per_token,
            base,
            params=params,
            fixed_shape=shape_is_given,
            other_tokens=evaluated * FORWARD_SHARE,
        )
    except TooShortError as error:
        needed = (minutes * 60 + error.missing_seconds) / 60
        raise UserError(
            Notice(
                f"--minutes {minutes:g} is too short to train on this text here: about {needed:.2g} is the least that "
                "works",
                "too_short",
                minutes=minutes,
                needed_minutes=float(f"{needed:.2g}"),
            )
        ) from None
    config = GPTConfig.parse({**base, **plan.model})
    per_token = seconds_per_token(config, plan.tokens_per_step)
    times_slower = per_token / speed.seconds_per_token(config, plan.tokens_per_step)
    if may_compile and train.compile is None:
        plan, trial = with_compiling(plan, config, corpus, left_s, device, dtype)
        if trial is not None:
            per_token /= trial.times_faster
            elapsed_seconds += trial.took_s + trial.first_s
    predicted = {
        "seconds": elapsed_seconds + CLOSING_S + (plan.num_tokens + evaluated * FORWARD_SHARE) * per_token,
        **_counts(plan, config, corpus),
        "tokens_per_second": 1 / per_token,
    }
    if slow_s:
        predicted["times_slower_than_full_attention"] = times_slower
    if (peak_bytes := _peak_bytes(plan, config, train, dtype, num_shards)) is not None:
        predicted["peak_memory_bytes"] = peak_bytes
    return plan, predicted if shape_is_given else {**predicted, **_expected_bits(plan, config, corpus)}


def _counts(plan: Plan, config: GPTConfig, corpus: Corpus) -> dict[str, Any]:
    figures = cost(config)
    return {
        "num_parameters": figures.num_parameters,
        "num_active_parameters": figures.num_active_parameters,
        "num_tokens": plan.num_tokens,
        "num_steps": plan.num_steps,
        "tokens_per_step": plan.tokens_per_step,
        "epochs": plan.num_tokens / max(corpus.num_tokens, 1),
    }


def _peak_bytes(plan: Plan, config: GPTConfig, train: TrainSettings, dtype: torch.dtype, num_shards: int) -> int | None:
    """The peak of this process's memory, in training or before it; None if its memory cannot be told."""
    now, peak = memory_bytes(), peak_memory_bytes()
    if now is None or peak is None:
        return None
    micro_batch = min(plan.tokens_per_step, (train.micro_batch_size or 10**9) * config.context_length)
    state_bytes = train.optimizer.state_bytes_per_parameter
    return max(peak, expected_peak_bytes(config, micro_batch, now, state_bytes, dtype.itemsize, num_shards))


def _expected_bits(plan: Plan, config: GPTConfig, corpus: Corpus) -> dict[str, float]:
    """The loss that the scaling law expects, and the interval that it will probably lie in."""
    bits = expectation(plan.num_tokens, without_embeddings(config), corpus)
    low, high = interval(bits, plan.num_tokens)
    return {"bits_per_byte": bits, "bits_per_byte_low": low, "bits_per_byte_high": high}


def without_embeddings(config: GPTConfig) -> int:
    """The parameters of a model's blocks, as losses are predicted from them."""
    return cost(config).num_parameters - 2 * config.vocab_size * config.embed_dim


def predicted_in_a_line(predicted: dict[str, Any]) -> str:
    """The predicted figures of a plan for people, with the time in all unless that is None."""
    seconds = predicted["seconds"]
    parts = [f"{seconds / 60:.1f} minutes in all"] if seconds is not None else []
    is_read_enough = "num_active_parameters" in predicted and predicted["epochs"] > 0.99 * USEFUL_EPOCHS
    enough = " (after more the text is learnt by heart)" if is_read_enough else ""
    parts.append(f"{predicted['epochs']:.1f} epochs{enough}")
    if "seconds_per_step" in predicted and "tokens_per_second" in predicted:
        parts.append(f"{predicted['tokens_per_second']:,.0f} tokens per second")
    if "peak_memory_bytes" in predicted:
        parts.append(f"{readable_bytes(predicted['peak_memory_bytes'])} of memory")
    if "bits_per_byte" in predicted:
        low, high = predicted["bits_per_byte_low"], predicted["bits_per_byte_high"]
        parts.append(f"{predicted['bits_per_byte']:.2f} bits per byte ({low:.2f} to {high:.2f})")
    if slower := predicted.get("times_slower_than_full_attention"):
        parts.append(f"{slower:.1f} times slower than with full attention")
    return f"planned: {', '.join(parts)}"
