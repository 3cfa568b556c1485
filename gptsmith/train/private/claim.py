"""What a private run promises: the noise that its epsilon takes, and the epsilon that its steps have spent."""

from __future__ import annotations

from typing import Any, TypeVar

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.settings import merged
from gptsmith.train.private.accountant import epsilon, noise_multiplier_for
from gptsmith.train.private.settings import PrivateSettings
from gptsmith.train.run_settings import TrainingSettings
from gptsmith.train.settings import TrainSettings

S = TypeVar("S", bound=TrainingSettings)
SLACK = 1e-9
"""Of an epsilon that is computed twice."""


def usual_delta(num_units: int) -> float:
    """A tenth of the chance to guess one unit of all."""
    return 1 / (10 * num_units)


def sampling_rate(train: TrainSettings, num_units: int) -> float:
    """The probability with which a unit is in a step."""
    return min(1.0, train.batch_size / num_units)


def with_noise(settings: S, num_units: int) -> S:
    """The settings of a private run with the delta and the noise that its epsilon takes.

    Raises:
        ConfigurationError: the noise that is given does not suffice, or the batch is larger than the data.
    """
    train, private = settings.train, settings.train.private
    assert private.epsilon is not None
    if train.batch_size > num_units:
        raise ConfigurationError(
            f"train.batch_size={train.batch_size} is more than the {num_units:,} examples or documents: with --private "
            "it is how many of them a step is expected to have"
        )
    delta = private.delta or usual_delta(num_units)
    rate, noise = sampling_rate(train, num_units), private.noise_multiplier
    if noise is None:
        noise = noise_multiplier_for(private.epsilon, rate, train.num_steps, delta)
    spent = epsilon(noise, rate, train.num_steps, delta)
    if spent > private.epsilon + SLACK:
        raise ConfigurationError(
            f"{train.num_steps:,} steps with train.private.noise_multiplier={noise:g} spend an epsilon of {spent:.3g}, "
            f"and {private.epsilon:g} is allowed: take fewer steps or more noise"
        )
    chosen = {"train": {"private": {"delta": delta, "noise_multiplier": noise}}}
    return type(settings).parse(merged(settings.plain(), chosen))


def claim(train: TrainSettings, num_units: int, unit: str, num_steps: int) -> dict[str, Any]:
    """The promise of weights after so many steps, as result.json keeps it."""
    private: PrivateSettings = train.private
    assert private.noise_multiplier is not None
    assert private.delta is not None
    rate = sampling_rate(train, num_units)
    return {
        "epsilon": epsilon(private.noise_multiplier, rate, num_steps, private.delta),
        "delta": private.delta,
        "noise_multiplier": private.noise_multiplier,
        "clip_norm": private.clip_norm,
        "sampling_rate": rate,
        "num_steps": num_steps,
        "unit": unit,
    }
