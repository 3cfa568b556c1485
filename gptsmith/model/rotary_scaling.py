"""How rotary frequencies are changed, so that a model reads more tokens than it was first trained on."""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.settings import Settings
from gptsmith.model.dims import LARGEST_CONTEXT


class RotaryScaling(Settings):
    """A rule for the frequencies, as Llama's and Qwen's configs state it. Frequencies are in radians a token."""

    kind: Literal["linear", "llama3", "yarn"]
    """linear: all are divided (Chen et al. 2023). llama3: the slow ones are, the fast ones stay, with a ramp between
    them over wavelengths (Llama 3.1). yarn: the same with a ramp over dimensions, and sharper attention (Peng et al.
    2023)."""
    factor: float = Field(ge=1)
    """The slowest frequencies are divided by it."""
    original_context_length: int | None = Field(default=None, gt=0, le=LARGEST_CONTEXT)
    """The context that the model was first trained with; linear has no use for it."""
    low_frequency_factor: float = Field(default=1.0, gt=0)
    """llama3: frequencies that turn fewer times in the original context are divided."""
    high_frequency_factor: float = Field(default=4.0, gt=0)
    """llama3: frequencies that turn more often in it stay."""
    fast_rotations: float = Field(default=32.0, gt=0)
    """yarn: dimensions that turn more often than this in the original context stay."""
    slow_rotations: float = Field(default=1.0, gt=0)
    """yarn: dimensions that turn fewer times than this are divided."""
    truncate: bool = True
    """yarn: whether the ramp begins and ends at whole dimensions (gpt-oss's does not)."""
    attention_factor: float | None = Field(default=None, gt=0)
    """yarn: sines and cosines are multiplied by it; 0.1 ln(factor) + 1 if None."""

    @model_validator(mode="after")
    def _knows_where_it_comes_from(self) -> Self:
        if self.kind != "linear" and self.original_context_length is None:
            raise ConfigurationError(
                f"{self.kind} needs original_context_length, the context that the model was trained with"
            )
        return self

    def scale(self, frequencies: Tensor, base: float) -> Tensor:
        """The changed frequencies (D/2), of dimensions whose slowest turn is about 1 / `base`."""
        if self.kind == "linear":
            return frequencies / self.factor
        assert self.original_context_length is not None
        if self.kind == "llama3":
            wavelengths = 2 * math.pi / frequencies
            turns = self.original_context_length / wavelengths
            kept = (turns - self.low_frequency_factor) / (self.high_frequency_factor - self.low_frequency_factor)
            mixed = (1 - kept) * frequencies / self.factor + kept * frequencies
            slow, fast = turns < self.low_frequency_factor, turns > self.high_frequency_factor
            return torch.where(slow, frequencies / self.factor, torch.where(fast, frequencies, mixed))
        kept = 1 - self._ramp(2 * len(frequencies), base).to(frequencies.device)
        return frequencies / self.factor * (1 - kept) + frequencies * kept

    @property
    def magnitude(self) -> float:
        """The factor of sines and cosines."""
        if self.kind != "yarn":
            return 1.0
        return self.attention_factor or 0.1 * math.log(self.factor) + 1.0

    def _ramp(self, head_dim: int, base: float) -> Tensor:
        """(D/2): 0 for dimensions that turn fast, 1 for those that turn slowly (Peng et al. 2023, section 3.2)."""
        assert self.original_context_length is not None

        def dimension(rotations: float) -> float:
            length = self.original_context_length or 1
            return head_dim * math.log(length / (rotations * 2 * math.pi)) / (2 * math.log(base))

        low, high = dimension(self.fast_rotations), dimension(self.slow_rotations)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, head_dim - 1)
        places = torch.arange(head_dim // 2, dtype=torch.float32)
        return ((places - low) / (high - low if high != low else 0.001)).clamp(0, 1)
