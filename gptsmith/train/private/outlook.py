"""How loud the noise of private training will be, said before it starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gptsmith.model.gpt import GPT
from gptsmith.train.optimizers import trained_parameters
from gptsmith.train.private.claim import claim
from gptsmith.train.private.units import UnitDataset
from gptsmith.train.settings import TrainSettings

LOUD, HOPELESS = 0.3, 1.0
"""Shares of the largest possible sum of gradients above which noise makes training worse, and leaves nothing of it."""


def noise_to_signal(noise_multiplier: float, num_trained: int, batch_size: int) -> float:
    """The expected norm of the noise, over the norm that the sum of the clipped gradients has if all units agree."""
    return noise_multiplier * math.sqrt(num_trained) / batch_size


def private_figures(train: TrainSettings, units: UnitDataset, model: GPT) -> dict[str, Any]:
    """The figures of a private training that has not begun."""
    num_trained = sum(parameter.numel() for parameter in trained_parameters(model).values())
    assert train.private.noise_multiplier is not None
    return {
        **claim(train, units.num_samples, units.name, train.num_steps),
        "num_units": units.num_samples,
        "batch_size": train.batch_size,
        "num_trained_parameters": num_trained,
        "noise_to_signal": noise_to_signal(train.private.noise_multiplier, num_trained, train.batch_size),
    }


def private_advice(figures: Mapping[str, Any], *, fewer_weights: str) -> list[str]:
    """Sentences on how much the noise of such a training leaves to be learnt, and what would leave more; none if it is
    soft.

    Args:
        fewer_weights: how to train fewer weights; empty if there is no way.
    """
    ratio, unit = figures["noise_to_signal"], figures["unit"]
    if ratio <= LOUD:
        return []
    loud = f"the noise is {ratio:.2g} times as large as all {unit}s of a step together can be"
    so = "there is no hope to learn anything" if ratio > HOPELESS else "expect much less than without --private"
    enough = figures["num_units"] * ratio / LOUD
    ways = [fewer_weights] if fewer_weights else []
    ways += [f"about {float(f'{enough:.1g}'):,.0f} {unit}s instead of {figures['num_units']:,}", "a larger epsilon"]
    return [f"{loud}: {so}. Better: {'; '.join(ways)}"]
