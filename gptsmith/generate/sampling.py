"""Which token comes next."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.base.settings import Settings


class SamplingSettings(Settings):
    """How a token is drawn from the model's probabilities."""

    temperature: float = Field(default=0.8, ge=0)
    """Logits are divided by it: below 1 surer, above 1 wilder, 0 always the likeliest."""
    top_k: int | None = Field(default=None, gt=0)
    """Draw from this many of the likeliest tokens only (Fan et al. 2018)."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Draw from the fewest likeliest tokens that together have this probability (Holtzman et al. 2020)."""


def draw(logits: Tensor, settings: SamplingSettings, generator: torch.Generator) -> Tensor:
    """A token id for each row of logits (B, V): (B)."""
    if settings.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.float() / settings.temperature
    if settings.top_k is not None and settings.top_k < logits.shape[-1]:
        least = logits.topk(settings.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    probabilities = logits.softmax(dim=-1)
    if settings.top_p is not None and settings.top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        ordered = ordered.masked_fill(before >= settings.top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]
