"""The difference of a model from the one that it was derived from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptsmith.model.gpt import GPT

LOGITS_AT_ONCE = 1 << 22
"""Those of each model that stand in memory: eight tensors of them do."""


@dataclass(frozen=True)
class Difference:
    """The change of the logits."""

    largest: float
    """The largest absolute difference of two logits."""
    mean: float
    """The mean absolute difference."""
    kl_divergence: float
    """The mean Kullback-Leibler divergence of the new probabilities from the old ones, in nats per token."""
    top1_agreement: float
    """The share of positions at which the most likely token is the same."""
    num_tokens: int
    """Positions compared."""


@torch.inference_mode()
def counted_states(model: GPT, windows: Iterable[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """The last hidden states (N, C) at the positions that count, of each window.

    Args:
        windows: as those of `difference`.
    """
    return [model.hidden(input_ids)[counts] for input_ids, counts in windows]


@torch.inference_mode()
def difference(
    before: GPT, after: GPT, windows: Iterable[tuple[Tensor, Tensor]], old: Sequence[Tensor] | None = None
) -> Difference:
    """The difference of the logits of `after` from those of `before`, in the dtype that they are in.

    Args:
        windows: input ids (B, T), at least one, and which of the positions count (B, T).
        old: the `counted_states` of `before`, where they are known.
    """
    largest, total, nats, agreed, num_tokens, num_logits = 0.0, 0.0, 0.0, 0, 0, 0
    for one, other in _logits(before, after, windows, old):
        gaps = (one - other).abs()
        largest = max(largest, float(gaps.max()))
        total += float(gaps.sum(dtype=torch.float64))
        was, now = one.log_softmax(dim=1), other.log_softmax(dim=1)
        nats += float((was.exp() * (was - now)).sum(dtype=torch.float64))
        agreed += int((one.argmax(dim=1) == other.argmax(dim=1)).sum())
        num_tokens, num_logits = num_tokens + len(gaps), num_logits + gaps.numel()
    return Difference(largest, total / num_logits, nats / num_tokens, agreed / num_tokens, num_tokens)


@torch.inference_mode()
def kl_divergence(before: GPT, old: Tensor, after: GPT, new: Tensor) -> float:
    """The mean Kullback-Leibler divergence of the probabilities of `after` from those of `before`, in nats per token.

    Args:
        old: the last hidden states (..., C) of `before`.
        new: those of `after`, of the same text.
    """
    at_once = max(1, LOGITS_AT_ONCE // before.config.vocab_size)
    nats = 0.0
    for one, other in zip(*(torch.split(each.flatten(0, -2), at_once) for each in (old, new)), strict=True):
        was, now = before.logits(one).log_softmax(dim=1), after.logits(other).log_softmax(dim=1)
        nats += float((now.sub_(was).neg_().mul_(was.exp_())).sum(dtype=torch.float64))
    return nats / old[..., 0].numel()


def _logits(
    before: GPT, after: GPT, windows: Iterable[tuple[Tensor, Tensor]], old: Sequence[Tensor] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The logits (N, V) of both models at the positions that count, some positions after the other."""
    at_once = max(1, LOGITS_AT_ONCE // before.config.vocab_size)
    for number, (input_ids, counts) in enumerate(windows):
        was = before.hidden(input_ids)[counts] if old is None else old[number]
        now = after.hidden(input_ids)[counts]
        for one, other in zip(torch.split(was, at_once), torch.split(now, at_once), strict=True):
            yield before.logits(one), after.logits(other)
