"""The private step: each unit's gradient by itself, clipped; their sum with noise; one move of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch
from gptsmith.train.objectives import ObjectiveSettings
from gptsmith.train.optimizers import trained_parameters
from gptsmith.train.private.row_gradients import takes_rows, unit_gradients
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
    for gradients in _gradients(model, objective, units, parameters):
        scales = clip_scales(gradients, clip_norm)
        for name, gradient in gradients.items():
            kept = gradient[scales > 0]  # others may not be finite
            sums[name] += torch.tensordot(scales[scales > 0].to(gradient.dtype), kept, dims=1)
    for name, total in sums.items():
        if noise_multiplier > 0:
            total.add_(noise(name, total), alpha=noise_multiplier * clip_norm)
        parameters[name].grad = total.div_(expected_units)


def _gradients(
    model: GPT, objective: ObjectiveSettings, units: Iterable[Sequence[Batch]], parameters: Mapping[str, nn.Parameter]
) -> Iterator[dict[str, Tensor]]:
    """The gradients (U, ...) of the mean losses of some units at a time, by the names of parameters."""
    units = iter(units)
    first = next(units, None)
    if first is None:
        return
    units = chain([first], units)
    if takes_rows(model, objective, first):
        yield from unit_gradients(model, objective, units)
        return
    for batches in units:
        for each in model.parameters():
            each.grad = None
        accumulate(model, objective, batches)
        yield {name: each.grad[None] for name, each in parameters.items() if each.grad is not None}
        for each in parameters.values():
            each.grad = None


def clip_scales(gradients: Mapping[str, Tensor], clip_norm: float) -> Tensor:
    """The factors (U,) that bring the gradients (U, ...) of units to the norm `clip_norm`, if they are larger. One that
    is not finite, which no factor would bound, counts for nothing, and neither does one of zeros."""
    squares = [gradient.flatten(1).double().square().sum(dim=1) for gradient in gradients.values()]
    norms = torch.stack(squares).sum(dim=0).sqrt()
    scales = (clip_norm / norms).clamp(max=1.0)
    return torch.where(norms.isfinite() & (norms > 0), scales, 0.0)
