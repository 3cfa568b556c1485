"""The settings of differentially private training."""

from __future__ import annotations

from pydantic import Field

from gptsmith.base.settings import Settings

OPTION_SETTINGS = {"data": {"validation_fraction": 0.0}}
"""What `--private` sets besides the epsilon: no part of the private data is measured."""
TUNING_OPTION_SETTINGS = {"examples": {"validation_fraction": 0.0, "test_fraction": 0.0}}
"""And of a fine-tuning."""


class PrivateSettings(Settings):
    """Differentially private training, if an epsilon is given: `--private EPSILON` sets what goes with it."""

    epsilon: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The most that the weights may give away of one example or document: with it and without it, no outcome's
    probability differs by more than a factor of exp(epsilon), but for `delta`. None trains as usual."""
    delta: float | None = Field(default=None, gt=0, lt=1)
    """The probability that is left out of that promise; by default 1 / (10 times the number of units)."""
    clip_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """The gradient of each unit is scaled down to this Euclidean norm if it is larger."""
    noise_multiplier: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The standard deviation of the noise, over `clip_norm`; by default the least that keeps to `epsilon`."""
    max_unit_tokens: int = Field(default=16_384, gt=0)
    """Of a longer document only so many tokens are learnt, its first ones."""

    @property
    def is_on(self) -> bool:
        """Whether training is private."""
        return self.epsilon is not None
