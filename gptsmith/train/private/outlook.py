"""How loud the noise of private training will be, said before it starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from gptsmith.base.hints import shell_command
from gptsmith.base.notices import Notice
from gptsmith.train.optimizers import trained_parameters
from gptsmith.train.private.claim import claim
from gptsmith.train.run_settings import TrainingSettings

LOUD, HOPELESS = 0.3, 1.0
"""Shares of the largest possible sum of gradients above which noise makes training worse, and leaves nothing of it."""


def noise_to_signal(noise_multiplier: float, num_trained: int, batch_size: int) -> float:
    """The expected norm of the noise, over the norm that the sum of the clipped gradients has if all units agree."""
    return noise_multiplier * math.sqrt(num_trained) / batch_size


def private_outlook(
    settings: TrainingSettings, num_units: int, unit: str, model: nn.Module
) -> tuple[dict[str, Any], list[str]]:
    """The figures of a private training that has not begun, and sentences on how much its noise leaves to be learnt and
    what would leave more: none if the noise is soft."""
    train = settings.train
    assert train.private.noise_multiplier is not None
    num_trained = sum(parameter.numel() for parameter in trained_parameters(model).values())
    figures = {
        **claim(train, num_units, unit, train.num_steps),
        "num_units": num_units,
        "batch_size": train.batch_size,
        "num_trained_parameters": num_trained,
        "noise_to_signal": noise_to_signal(train.private.noise_multiplier, num_trained, train.batch_size),
    }
    return figures, private_advice(figures, _fewer_weights(settings))


def private_advice(figures: Mapping[str, Any], fewer_weights: Sequence[str] = ()) -> list[str]:
    """Those sentences.

    Args:
        fewer_weights: the ways to train fewer weights.
    """
    ratio, unit = figures["noise_to_signal"], figures["unit"]
    if ratio <= LOUD:
        return []
    loud = f"the noise is {ratio:.2g} times as large as all {unit}s of a step together can be"
    so = "there is no hope to learn anything" if ratio > HOPELESS else "expect less than without --private"
    enough = figures["num_units"] * ratio / LOUD
    more = f"about {float(f'{enough:.1g}'):,.0f} {unit}s instead of {figures['num_units']:,}"
    text = f"{loud}: {so}. Better: {'; '.join([*fewer_weights, more, 'a larger epsilon'])}"
    ratio = float(f"{ratio:.2g}")
    return [Notice(text, "noise", ratio=ratio, count=figures["num_units"], enough=float(f"{enough:.1g}"))]


def _fewer_weights(settings: TrainingSettings) -> list[str]:
    if settings.made_by == "pretrain":
        tuning = shell_command("finetune", "PUBLIC", "DATA", "--private", "EPSILON", "--lora", "4")
        return [f"LoRA on a public model, by {tuning}"]
    linear = settings.model.linear
    if not linear.has_adapters:
        return ["--lora 4, which trains fewer weights"]
    rank = linear.plain()["rank"]
    return [f"--lora {rank // 2}"] if rank > 1 else []
