"""The learning rate as a pure function of the step."""

from __future__ import annotations

from pydantic import Field

from gptsmith.base.settings import Settings


class ScheduleSettings(Settings):
    """Learning rate schedule: linear warm-up, constant, then linear decay."""

    warmup_steps: int = Field(default=20, ge=0)
    """Steps over which the learning rate rises from near zero."""
    decay_fraction: float = Field(default=0.6, ge=0, le=1)
    """Fraction of all steps, at the end, over which the learning rate falls."""
    min_lr_ratio: float = Field(default=0.05, ge=0, le=1)
    """The learning rate of the last step, as a fraction of the peak."""


def replanned_decay(step: int, num_steps: int, new_num_steps: int, settings: ScheduleSettings) -> float:
    """The `decay_fraction` with which a run that ends after `new_num_steps`, and not after `num_steps`, goes on from
    `step` at the learning rate that it has, and falls to the same last one."""
    decay_steps = settings.decay_fraction * num_steps
    left = min(1.0, (num_steps - 1 - step) / decay_steps) if decay_steps else 1.0
    to_come = new_num_steps - 1 - step
    if left < 1.0:
        new_decay_steps = to_come / left if left > 0 else 1.0
    else:
        new_decay_steps = min(settings.decay_fraction * new_num_steps, to_come)
    return min(1.0, max(new_decay_steps, 1.0 if settings.decay_fraction else 0.0) / new_num_steps)


def lr_multiplier(step: int, num_steps: int, settings: ScheduleSettings) -> float:
    """The share of the full learning rate at step 0, 1, ..., num_steps - 1."""
    rising = (step + 1) / (settings.warmup_steps + 1)
    decay_steps = settings.decay_fraction * num_steps
    left = min(1.0, (num_steps - 1 - step) / decay_steps) if decay_steps else 1.0
    falling = settings.min_lr_ratio + (1 - settings.min_lr_ratio) * max(0.0, left)
    return min(1.0, rising, falling)
