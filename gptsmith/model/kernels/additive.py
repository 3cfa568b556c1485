"""Additive attention by blocks: no more than a block of tanh(Wq + Uk), which is (T, S, D), stands in memory at once.

The attention is that of Bahdanau, Cho and Bengio (2015, appendix A.1.2). The backward pass computes the blocks again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CPU_BLOCK, BLOCK = 1 << 19, 1 << 24
"""Elements of a block: what stays in a core's cache, and what fills another device."""
BLOCK_ROWS = 8
"""Queries per block, at least where a block of one head holds so many."""
MAX_EXPONENT = 20.0
"""Queries and keys up to this size are exponentiated, which takes a third of the time of as many tanh."""


def additive_attention(queries: Tensor, keys: Tensor, values: Tensor, score: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(v' tanh(q + k) + bias) V.

    Args:
        queries: (N, T, D), N sequences and heads.
        keys: (N, S, D).
        values: (N, S, V).
        score: the vectors v (N, D).
        bias: (N, T, S), minus infinity where a query may not attend; None if attention is causal, the last query at the
            last key.

    Returns:
        (N, T, V), in the dtype of the queries; computed in float32 at least.
    """
    dtype = torch.promote_types(queries.dtype, torch.float32)
    inputs = [each.to(dtype).contiguous() for each in (queries, keys, values, score)]
    attended: Tensor = _Additive.apply(*inputs, bias)  # type: ignore[no-untyped-call]
    return attended.to(queries.dtype)


def plain_additive_pattern(queries: Tensor, keys: Tensor, score: Tensor, bias: Tensor) -> Tensor:
    """softmax(v' tanh(q + k) + bias), (B, H, T, S), as the formula says it, of queries (B, H, T, D), keys (B, H, S, D),
    vectors v (H, D) and a bias (B or 1, H or 1, T, S); computed in float32 at least."""
    dtype = torch.promote_types(queries.dtype, torch.float32)
    queries, keys, score = queries.to(dtype), keys.to(dtype), score.to(dtype)
    rows = max(1, BLOCK // max(1, keys.numel()))
    # A few queries at a time: (B, H, t, 1, D) + (B, H, 1, S, D) is large.
    scores = [
        ((some[:, :, :, None] + keys[:, :, None]).tanh() @ score[:, None, :, None])[..., 0]
        for some in torch.split(queries, rows, dim=2)
    ]
    return (torch.cat(scores, dim=2) + bias.to(dtype)).softmax(dim=-1)


class _Additive(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, queries: Tensor, keys: Tensor, values: Tensor, score: Tensor, bias: Tensor | None
    ) -> Tensor:
        is_small = _is_small(queries, keys)
        attended = queries.new_empty(*queries.shape[:2], values.shape[2])
        logs = queries.new_empty(queries.shape[:2])
        for heads, rows, seen in _blocks(queries, keys, bias):
            gates = _gates(queries[heads, rows], keys[heads, :seen], is_small)
            scores = _scores(gates, score[heads]) + _bias(bias, heads, rows, seen, queries, keys)
            logs[heads, rows] = scores.logsumexp(dim=2)
            attended[heads, rows] = scores.softmax(dim=2) @ values[heads, :seen]
        context.is_small = is_small
        context.save_for_backward(queries, keys, values, score, bias, attended, logs)
        return attended

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (given,) = gradients
        queries, keys, values, score, bias, attended, logs = context.saved_tensors
        of_queries, of_keys, of_values = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
        of_score = torch.zeros_like(score)
        for heads, rows, seen in _blocks(queries, keys, bias):
            gates = _gates(queries[heads, rows], keys[heads, :seen], context.is_small)  # (n, t, s, D)
            scores = _scores(gates, score[heads]) + _bias(bias, heads, rows, seen, queries, keys)
            weights = (scores - logs[heads, rows, None]).exp()  # (n, t, s)
            grad = given[heads, rows]
            of_values[heads, :seen] += weights.transpose(1, 2) @ grad
            mean = (grad * attended[heads, rows]).sum(dim=2, keepdim=True)
            of_scores = weights * (grad @ values[heads, :seen].transpose(1, 2) - mean)  # (n, t, s)
            # tanh = 1 - 2 gate, and its slope is 4 gate (1 - gate).
            n, t, s = of_scores.shape
            of_score[heads] += of_scores.sum(dim=(1, 2))[:, None]
            of_score[heads] -= 2 * (of_scores.reshape(n, 1, t * s) @ gates.view(n, t * s, -1))[:, 0]
            slopes = torch.addcmul(gates, gates, gates, value=-1, out=gates).mul_(4 * of_scores[..., None])
            of_queries[heads, rows] = slopes.sum(dim=2) * score[heads, None]
            of_keys[heads, :seen] += slopes.sum(dim=1) * score[heads, None]
        return of_queries, of_keys, of_values, of_score, None


def _blocks(queries: Tensor, keys: Tensor, bias: Tensor | None) -> Iterator[tuple[slice, slice, int]]:
    """The heads and queries of each block, and the number of keys that they may attend to."""
    (N, T, D), S = queries.shape, keys.shape[1]
    size = CPU_BLOCK if queries.device.type == "cpu" else BLOCK
    heads = max(1, size // (min(BLOCK_ROWS, T) * S * D))
    rows = max(1, size // (min(heads, N) * S * D))
    for first in range(0, N, heads):
        for start in range(0, T, rows):
            end = min(start + rows, T)
            yield slice(first, first + heads), slice(start, end), S if bias is not None else S - T + end


def _is_small(queries: Tensor, keys: Tensor) -> bool:
    """Whether e^2q and e^2k have no overflow; not asked on other devices, which would wait for the answer."""
    if queries.device.type != "cpu" or not queries.numel():
        return False
    return max(float(queries.abs().max()), float(keys.abs().max())) <= MAX_EXPONENT


def _gates(queries: Tensor, keys: Tensor, is_small: bool) -> Tensor:
    """(1 - tanh(q + k)) / 2 = 1 / (1 + e^2q e^2k) for queries (n, t, D) and keys (n, s, D): (n, t, s, D)."""
    if is_small:
        return ((2 * queries).exp()[:, :, None] * (2 * keys).exp()[:, None]).add_(1).reciprocal_()
    return (queries[:, :, None] + keys[:, None]).tanh_().mul_(-0.5).add_(0.5)


def _scores(gates: Tensor, score: Tensor) -> Tensor:
    """v' tanh(q + k) from the gates (n, t, s, D): (n, t, s)."""
    n, t, s, D = gates.shape
    gated = (gates.view(n, t * s, D) @ score[:, :, None]).view(n, t, s)
    return score.sum(dim=1)[:, None, None] - 2 * gated


def _bias(bias: Tensor | None, heads: slice, rows: slice, seen: int, queries: Tensor, keys: Tensor) -> Tensor:
    """The bias of a block's scores (n, t, s), or a mask of the later keys if there is none."""
    if bias is not None:
        return bias[heads, rows].to(queries.dtype)
    later = (
        torch.arange(seen, device=keys.device)
        > torch.arange(rows.start + keys.shape[1] - queries.shape[1], seen, device=keys.device)[:, None]
    )
    return torch.zeros(later.shape, dtype=queries.dtype, device=keys.device).masked_fill_(later, float("-inf"))
