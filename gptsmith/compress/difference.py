"""The difference of a model from the one that it was derived from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from gptsmith.model.gpt import GPT


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
def difference(before: GPT, after: GPT, windows: Iterable[tuple[Tensor, Tensor]]) -> Difference:
    """The difference of the logits of `after` from those of `before`, in the dtype that they are in.

    Args:
        windows: input ids (B, T), at least one, and which of the positions count (B, T).
    """
    largest, total, nats, agreed, num_tokens, num_logits = 0.0, 0.0, 0.0, 0, 0, 0
    for input_ids, counts in windows:
        one, other = (model(input_ids)[counts] for model in (before, after))  # (N, V)
        gaps = (one - other).abs()
        largest = max(largest, float(gaps.max()))
        total += float(gaps.sum(dtype=torch.float64))
        was, now = one.log_softmax(dim=1), other.log_softmax(dim=1)
        nats += float((was.exp() * (was - now)).sum(dtype=torch.float64))
        agreed += int((one.argmax(dim=1) == other.argmax(dim=1)).sum())
        num_tokens, num_logits = num_tokens + len(gaps), num_logits + gaps.numel()
    return Difference(largest, total / num_logits, nats / num_tokens, agreed / num_tokens, num_tokens)
