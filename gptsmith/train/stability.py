"""Stability of training: which steps are rejected, and what follows.

A step with a loss or gradients that are not finite, or with a loss spike, is skipped with its data. After several such
steps in a row the weights themselves are suspect, and training rolls back to the last checkpoint; after several
roll-backs it has diverged, and someone has to look.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from gptsmith.base.errors import UserError
from gptsmith.base.settings import Settings
from gptsmith.run.sharding import full_tensor
from gptsmith.run.train_state import TrainState

SPIKE_NATS = 0.5
"""A rise of the loss that is smaller than this is no spike."""
DEVIATION_OF_MAD = 1.4826
"""The standard deviation of a normal variable, over its median absolute deviation."""

StepOutcome = Literal["accept", "skip", "roll_back", "diverged"]


class Judgement(NamedTuple):
    """What is done about a step, and the problem that it has; empty if it has none."""

    outcome: StepOutcome
    problem: str = ""


ACCEPTED = Judgement("accept")


class TrainingDivergedError(UserError):
    """The loss or the gradients are not finite, or spike, again and again."""


class StabilitySettings(Settings):
    """When a step is skipped, and when training rolls back or stops."""

    spike_deviations: float = Field(default=10.0, gt=0)
    """A loss this many deviations above the median of recent ones is a spike."""
    window_steps: int = Field(default=50, gt=1)
    """Number of recent losses that a spike is measured against; no spike is detected before that many."""
    max_skips: int = Field(default=3, ge=1)
    """Steps skipped in a row before training rolls back to the last checkpoint."""
    max_rollbacks: int = Field(default=3, ge=0)
    """Roll-backs before training stops; a whole window of accepted steps resets the count."""


def judge(state: TrainState, loss: float, gradient_norm: float, settings: StabilitySettings) -> Judgement:
    """The judgement about a step with this loss and gradient norm; counts it in the state."""
    problem = _problem(state, loss, gradient_norm, settings)
    if not problem:
        state.recent_losses = [*state.recent_losses, loss][-settings.window_steps :]
        state.skips_in_a_row = 0
        state.accepted_in_a_row += 1
        if state.accepted_in_a_row >= settings.window_steps:
            state.rollbacks = 0
        return ACCEPTED
    state.accepted_in_a_row = 0
    state.skips_in_a_row += 1
    if state.skips_in_a_row < settings.max_skips:
        return Judgement("skip", problem)
    state.skips_in_a_row = 0
    state.rollbacks += 1
    return Judgement("roll_back" if state.rollbacks <= settings.max_rollbacks else "diverged", problem)


def _problem(state: TrainState, loss: float, gradient_norm: float, settings: StabilitySettings) -> str:
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    if not math.isfinite(gradient_norm):
        return f"the norm of the gradients is {gradient_norm}"
    if len(state.recent_losses) < settings.window_steps:
        return ""
    median = statistics.median(state.recent_losses)
    deviation = DEVIATION_OF_MAD * statistics.median(abs(value - median) for value in state.recent_losses)
    if loss - median > max(settings.spike_deviations * deviation, SPIKE_NATS):
        return f"the loss is {loss:.3f}, far above {median:.3f}"
    return ""


def gradient_norm(model: nn.Module) -> float:
    """The Euclidean norm of all gradients together."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm: Tensor = torch.nn.utils.get_total_norm(gradients, foreach=True)
    return float(full_tensor(norm))


@contextmanager
def nonfinite_modules(model: nn.Module) -> Iterator[list[str]]:
    """The names of modules with outputs that are not finite while the block runs, in the order in which they ran."""
    names: list[str] = []

    def checking(name: str) -> Callable[..., None]:
        def check(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and not bool(output.isfinite().all()):
                names.append(name)

        return check

    handles = [module.register_forward_hook(checking(name)) for name, module in model.named_modules() if name]
    try:
        yield names
    finally:
        for handle in handles:
            handle.remove()


def nonfinite_parameters(model: nn.Module) -> tuple[list[str], list[str]]:
    """The names of parameters that are not finite, and of those with gradients that are not."""
    weights = [name for name, p in model.named_parameters() if not bool(p.isfinite().all())]
    gradients = [
        name for name, p in model.named_parameters() if p.grad is not None and not bool(p.grad.isfinite().all())
    ]
    return weights, gradients


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in str(error) or "out of memory" in str(error).lower()
    )
