"""The private step: each unit's gradient by itself, clipped; their sum with noise; one move of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch
from gptsmith.train.objectives import ObjectiveSettings
from gptsmith.train.optimizers import trained_parameters
from gptsmith.train.stability import gradient_norm
from gptsmith.train.step import accumulate

Noise = Callable[[str, Tensor], Tensor]
"""Standard Gaussian noise for the parameter of that name, in the shape of the tensor."""


def set_private_gradients(
    model: GPT,
    objective: ObjectiveSettings,
    units: Iterable[Sequence[Batch]],
    *,
    clip_norm: float,
    noise_multiplier: float,
    expected_units: float,
    noise: Noise,
) -> None:
    """Sets the gradients to the noisy mean over the units of a step (Abadi et al. 2016, algorithm 1).

    Each unit's gradient is that of its own mean loss, over all of its batches, scaled down to `clip_norm`. The sum of
    them gets noise of the standard deviation `noise_multiplier * clip_norm`, and is divided by the number of units that
    is expected: that of the units at hand is a secret.
    """
    parameters = trained_parameters(model)
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for batches in units:
        scale = clip_scale(unit_gradient_norm(model, objective, batches), clip_norm)
        for name, parameter in parameters.items():
            if parameter.grad is not None and scale > 0:
                sums[name].add_(parameter.grad, alpha=scale)
            parameter.grad = None
    for name, parameter in parameters.items():
        total = sums.pop(name)
        if noise_multiplier > 0:
            total.add_(noise(name, total), alpha=noise_multiplier * clip_norm)
        parameter.grad = total.div_(expected_units)


def unit_gradient_norm(model: GPT, objective: ObjectiveSettings, batches: Sequence[Batch]) -> float:
    """Sets the gradients to those of one unit's mean loss, and returns their Euclidean norm."""
    for parameter in model.parameters():
        parameter.grad = None
    accumulate(model, objective, batches)
    return gradient_norm(model)


def clip_scale(norm: float, clip_norm: float) -> float:
    """The factor that brings a gradient to the norm `clip_norm`, if it is larger. One that is not finite, which no
    factor would bound, counts for nothing."""
    if not math.isfinite(norm):
        return 0.0
    return min(1.0, clip_norm / norm) if norm > 0 else 0.0
