"""How the next token is sampled from logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.base.errors import GptsmithError
from gptsmith.base.randomness import derived_seed
from gptsmith.base.settings import Settings

FLOAT32 = torch.finfo(torch.float32)
SMALLEST, LARGEST = FLOAT32.tiny, FLOAT32.max
"""What is smaller or larger is 0 or infinite in the arithmetic of logits."""


class NoDistributionError(GptsmithError):
    """Logits from which no token can be sampled: a NaN is among them, or all are minus infinity."""


class SamplingSettings(Settings):
    """How a token is sampled from the model's logits."""

    temperature: float = Field(default=0.8, ge=0, le=LARGEST)
    """Logits are divided by it: 0 is greedy, below 1 is more deterministic, above 1 more random."""
    top_k: int | None = Field(default=None, gt=0)
    """Sample from this many of the most probable tokens only (Fan et al. 2018)."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Sample from the fewest most probable tokens that together have this probability (Holtzman et al. 2020)."""
    min_p: float | None = Field(default=None, ge=0, le=1)
    """Sample only from tokens at least this fraction as probable as the most probable one (Nguyen et al. 2024)."""
    repetition_penalty: float = Field(default=1.0, ge=SMALLEST, le=LARGEST)
    """Logits of tokens of the prompt and the text are divided by it if they are positive, multiplied if negative
    (Keskar et al. 2019, section 4.1)."""
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Subtracted from the logit of a token for each time that the text has it."""
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Subtracted once from the logit of a token that the text has."""

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is taken."""
        return self.temperature < SMALLEST

    @property
    def has_penalties(self) -> bool:
        """Whether logits depend on the tokens before."""
        return (self.repetition_penalty, self.frequency_penalty, self.presence_penalty) != (1.0, 0.0, 0.0)


def uniform(seed: int, choice: int, position: int) -> float:
    """A number from [0, 1) for the token at a position of a text, a pure function of its three arguments.

    Args:
        choice: which of several texts after one prompt this is.
    """
    own_seed = derived_seed(seed, "choice", choice) if choice else seed
    return (derived_seed(own_seed, "token", position) >> 10) / 2**53


def sample_from_uniform(logits: Tensor, settings: SamplingSettings, uniforms: Sequence[float]) -> Tensor:
    """A token id for each row of logits (B, V), decided by a number from [0, 1) for each row: (B).

    By inversion: the first token at which the cumulative probability exceeds the number.

    Raises:
        NoDistributionError: a row has no token that can be sampled.
    """
    if settings.is_greedy:
        found = argmax(logits)
        _check(logits.gather(-1, found[:, None]), above=float("-inf"))
        return found
    finest = torch.float32 if logits.device.type == "mps" else torch.float64
    sums = _probabilities(logits, settings).to(finest).cumsum(dim=-1)
    _check(sums[:, -1:], above=0.0)
    wanted = torch.tensor(uniforms, dtype=finest, device=logits.device)[:, None] * sums[:, -1:]
    # Rounding must not carry the number past the last token that has a probability.
    wanted = torch.minimum(wanted, torch.nextafter(sums[:, -1:], torch.zeros_like(wanted)))
    return torch.searchsorted(sums, wanted, right=True)[:, 0]


def argmax(logits: Tensor) -> Tensor:
    """The token of the largest of each row's logits (B, V), the first of equals: (B)."""
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return torch.from_numpy(logits.detach().numpy().argmax(axis=-1))  # ten times as fast as PyTorch's
    return logits.argmax(dim=-1)


def apply_penalties(
    logits: Tensor, settings: SamplingSettings, prompt_ids: Sequence[int], output_ids: Sequence[int]
) -> Tensor:
    """The logits (V) of one row with its penalties, given the tokens of the prompt and those generated after it."""
    logits = logits.clone()
    seen = torch.tensor(sorted({*prompt_ids, *output_ids}), dtype=torch.long, device=logits.device)
    factor = settings.repetition_penalty
    logits[seen] = torch.where(logits[seen] > 0, logits[seen] / factor, logits[seen] * factor)
    logits[seen] = logits[seen].clamp(FLOAT32.min, FLOAT32.max)  # a penalty forbids nothing, and makes nothing certain
    if output_ids:
        counts = torch.tensor(list(output_ids), device=logits.device).bincount(minlength=len(logits))
        logits -= settings.frequency_penalty * counts + settings.presence_penalty * (counts > 0)
    return logits


def _probabilities(logits: Tensor, settings: SamplingSettings) -> Tensor:
    """The probabilities (B, V), float32, that tokens are sampled by; the settings leave some of them 0."""
    logits = logits.float()
    # The largest becomes 0 first: no temperature can make it infinite then.
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / settings.temperature
    if settings.top_k is not None and settings.top_k < logits.shape[-1]:
        least = logits.topk(settings.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    probabilities = logits.softmax(dim=-1)
    if settings.min_p:
        least = settings.min_p * probabilities.amax(dim=-1, keepdim=True)
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    if settings.top_p is not None and settings.top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        is_beyond = before >= settings.top_p * ordered.sum(dim=-1, keepdim=True)
        is_beyond[..., 0] = False  # the first stays, however little is wanted
        ordered = ordered.masked_fill(is_beyond, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered)
    return probabilities


def _check(values: Tensor, *, above: float) -> None:
    """
    Raises:
        NoDistributionError: a value is not above that bound, or NaN.
    """
    if not bool((values > above).all()):
        raise NoDistributionError("no token can be sampled: the logits hold a NaN, or all are minus infinity")
