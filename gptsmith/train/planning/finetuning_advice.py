"""Sentences on the plan of a fine-tuning: what was changed so that it fits, and what could be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from gptsmith.base.files import readable_bytes
from gptsmith.base.notices import Notice
from gptsmith.model.config import GPTConfig
from gptsmith.train.planning.memory import TuningMemory
from gptsmith.train.request import FinetuneRequest

LEAST_CONTEXT = 64


def too_large(request: FinetuneRequest, config: GPTConfig, memory: TuningMemory, limit: float) -> Notice:
    """What is needed, and the nearest settings that fit."""
    ways: list[str] = []
    if request.lora is None and replace(memory, num_trained=0).peak_bytes(1) <= limit:
        ways.append("--lora 8")
    context = memory.longest_fitting(limit)
    if LEAST_CONTEXT <= context < min(config.context_length, memory.longest_sample):
        ways.append(f"--context-length {context}")
    change = f"give {' or '.join(ways)}" if ways else "take a smaller model, or a machine with more memory"
    return Notice(
        f"tuning {request.base} so takes {readable_bytes(memory.peak_bytes(1))} of memory at the least, and "
        f"{readable_bytes(limit)} can be had here: {change}",
        "memory_lora" if "--lora 8" in ways else "memory",
        needed_bytes=memory.peak_bytes(1),
        limit_bytes=limit,
    )


def on_checkpointing(limit: float) -> Notice:
    """Gradient checkpointing that was switched on."""
    return Notice(
        f"gradient checkpointing is on, because {readable_bytes(limit)} of memory would not suffice without it: a "
        "step takes about a third longer, with the same result",
        "gradient_checkpointing",
        limit_bytes=limit,
    )


def on_evaluations(minutes: float, evaluation_minutes: float) -> Notice:
    """Evaluations that take much of the time."""
    return Notice(
        f"the evaluations at the end take {evaluation_minutes:.1f} of the {minutes:g} minutes: "
        "smaller splits, such as --set examples.validation_fraction=0.02 --set examples.test_fraction=0.02, "
        "leave more for training",
        "evaluations_long",
        minutes=minutes,
        evaluation_minutes=evaluation_minutes,
    )


def on_time(minutes: float | None, predicted: Mapping[str, Any], max_steps: int) -> Iterator[Notice]:
    """A time that is more than is useful, or less than one epoch."""
    if minutes is None:
        return
    if predicted["num_steps"] >= max_steps:
        if predicted["seconds"] < 0.9 * minutes * 60:
            yield Notice(
                f"{minutes:g} minutes are more than is useful: {predicted['epochs']:.3g} epochs take "
                f"{predicted['seconds'] / 60:.1f}, and training ends then (--epochs N trains longer)",
                "enough_time",
                minutes=minutes,
                useful_minutes=predicted["seconds"] / 60,
                epochs=float(f"{predicted['epochs']:.3g}"),
            )
    elif predicted["epochs"] < 1:
        yield Notice(
            f"{minutes:g} minutes are less than one epoch: {predicted['epochs']:.0%} of the examples are seen",
            "part_seen",
            minutes=minutes,
            percent=round(100 * predicted["epochs"]),
        )
