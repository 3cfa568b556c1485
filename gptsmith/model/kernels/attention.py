"""Causal and masked attention with the gradient written out, for CPUs: fewer passes over memory than autograd's.

PyTorch's own forms are the plain twins: on a GPU they are as fast, and everywhere they say what is right.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from gptsmith.model.kernels.soft_cap import soft_cap_slope_, soft_capped, soft_capped_

QUERY_BLOCK = 256
"""Queries that are scored together. A block reads no key behind its last query: half the work of a square."""
CAUSAL_BLOCK = 128
"""The same where all queries are among the keys: smaller blocks leave out more of the square (LOG.md)."""
FEW_QUERIES = 64
"""Up to so many, PyTorch's kernel is faster than products of whole blocks: a third to a half of their time."""
MAX_KEPT_PATTERN = 1 << 24
"""Attention patterns of up to this many numbers are kept for the backward pass; larger ones are computed again."""


def causal_attention(
    queries: Tensor, keys: Tensor, values: Tensor, sinks: Tensor | None = None, cap: float | None = None
) -> Tensor:
    """softmax(QK'/sqrt d_k)V, each query over the keys up to its own.

    Args:
        queries: (B, H, T, D).
        keys: (B, K, T, D). Queries of one group share a key head: H is a multiple of K.
        values: (B, K, T, V).
        sinks: (H), a score of each head that takes part in the softmax and stands for no value; none if None.
        cap: the soft cap of the scores QK'/sqrt d_k; none if None.

    Returns:
        (B, H, T, V).
    """
    T = queries.shape[2]
    if queries.device.type == "cpu" and T > 1:
        mixed: Tensor = _CausalAttention.apply(queries, keys, values, sinks, cap)  # type: ignore[no-untyped-call]
        return mixed
    if sinks is not None or cap is not None:
        later = torch.full((T, T), float("-inf"), dtype=queries.dtype, device=queries.device).triu(1)
        return plain_attention(queries, keys, values, later if T > 1 else None, sinks, cap)
    return functional.scaled_dot_product_attention(
        queries, keys, values, is_causal=T > 1, enable_gqa=queries.shape[1] != keys.shape[1]
    )


def plain_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor | None = None,
    sinks: Tensor | None = None,
    cap: float | None = None,
) -> Tensor:
    """softmax(QK'/sqrt d_k + bias)V as the formula says it, with all scores in memory: the product (B, H, T, V) of
    `plain_pattern` and values (B, K, S, V)."""
    return weighted_sum(plain_pattern(queries, keys, bias, sinks, cap), values)


def plain_pattern(
    queries: Tensor, keys: Tensor, bias: Tensor | None, sinks: Tensor | None = None, cap: float | None = None
) -> Tensor:
    """softmax(QK'/sqrt d_k + bias), (B, H, T, S), of queries (B, H, T, D), keys (B, K, S, D), a bias (B or 1, H or 1,
    T, S), sinks (H) and a cap of QK'/sqrt d_k."""
    B, H, T, D = queries.shape
    K, S = keys.shape[1], keys.shape[2]
    scores = (queries * D**-0.5).reshape(B, K, H // K * T, D) @ keys.mT
    scores = soft_capped(scores.view(B, H, T, S), cap)
    scores = scores if bias is None else scores + bias
    return softmax(scores, None if sinks is None else sinks.view(H, 1, 1))


def weighted_sum(pattern: Tensor, values: Tensor) -> Tensor:
    """The sums (B, H, T, V) of values (B, K, S, V), weighted by a pattern (B, H, T, S)."""
    (B, H, T, S), K = pattern.shape, values.shape[1]
    return (pattern.reshape(B, K, H // K * T, S) @ values).view(B, H, T, -1)


def softmax(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """The softmax of scores (..., S) and one sink (..., 1) for each of their rows, without the sink's own part: rows
    add up to less than 1. In place of an exponential of differences, which would be rough in bfloat16."""
    if sinks is None:
        return scores.softmax(dim=-1)
    with_sink = torch.cat((scores, sinks.to(scores.dtype).expand(*scores.shape[:-1], 1)), dim=-1)
    return with_sink.softmax(dim=-1)[..., :-1]


def masked_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor,
    sinks: Tensor | None = None,
    cap: float | None = None,
) -> Tensor:
    """softmax(QK'/sqrt d_k)V where `mask` (B or 1, 1, T, S) lets queries (B, H, T, D) look at keys (B, K, S, D) and at
    sinks (H), with a cap of QK'/sqrt d_k: by products that need no copy of keys and values that are a part of a larger
    cache. It has no gradient."""
    B, H, T, D = queries.shape
    K, S = keys.shape[1], keys.shape[2]
    if 1 < T <= FEW_QUERIES and H == K and sinks is None and cap is None:
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    # A few queries at a time, those of one group as rows of one matrix: keys are neither repeated nor copied.
    mask = mask.view(-1, 1, 1, *mask.shape[-2:])  # (B or 1, 1, 1, T, S)
    mixed = queries.new_empty(B, K, H // K, T, values.shape[3])
    for start in range(0, T, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, T)
        block = queries[:, :, start:stop].reshape(B, K, H // K * (stop - start), D)
        scores = soft_capped_((block * D**-0.5) @ keys.transpose(-1, -2), cap)
        allowed = mask[..., start:stop, :]
        scores = scores.view(B, K, H // K, stop - start, S).masked_fill_(~allowed, float("-inf"))
        by_group = None if sinks is None else sinks.view(K, H // K, 1, 1)
        pattern = softmax(scores, by_group).reshape(B, K, H // K * (stop - start), S)
        mixed[:, :, :, start:stop] = (pattern @ values).view(B, K, H // K, stop - start, -1)
    return mixed.view(B, H, T, -1)


class _CausalAttention(torch.autograd.Function):
    """By matrix products of whole blocks, which run at the machine's full rate where PyTorch's kernel does not."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, sinks: Tensor | None, cap: float | None
    ) -> Tensor:
        B, H, T, D = queries.shape
        K, V = keys.shape[1], values.shape[3]
        # One matrix product per block of queries, over the keys up to its last query.
        flat_keys, flat_values = keys.reshape(B * K, T, D), values.reshape(B * K, T, V)
        mixed = queries.new_empty(B, T, K, H // K, V)
        keep = any(ctx.needs_input_grad) and B * H * T * T <= MAX_KEPT_PATTERN
        patterns = []
        for start in range(0, T, CAUSAL_BLOCK):
            stop = min(start + CAUSAL_BLOCK, T)
            block = _query_block(queries, K, start, stop) * D**-0.5
            pattern = _pattern(block, flat_keys, start, stop, H // K, sinks, cap)
            mixed[:, start:stop] = _unstacked(pattern @ flat_values[:, :stop], B, stop - start)
            if keep:
                patterns.append(pattern)
        ctx.save_for_backward(queries, flat_keys, flat_values, sinks, *patterns)
        ctx.cap = cap
        return mixed.view(B, T, H, V).transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None, None]:
        queries, keys, values, sinks, *patterns = ctx.saved_tensors
        B, H, T, D = queries.shape
        K, V = keys.shape[0] // B, values.shape[2]
        query_gradient = queries.new_empty(B, T, K, H // K, D)
        key_gradient, value_gradient = torch.zeros_like(keys), torch.zeros_like(values)
        sink_gradient = None if sinks is None else torch.zeros_like(sinks)
        for number, start in enumerate(range(0, T, CAUSAL_BLOCK)):
            stop = min(start + CAUSAL_BLOCK, T)
            block = _query_block(queries, K, start, stop) * D**-0.5
            upstream = _query_block(gradients[0], K, start, stop)
            pattern = patterns[number] if patterns else _pattern(block, keys, start, stop, H // K, sinks, ctx.cap)
            # With P = softmax(S), O = PV: dV = P' dO, dP = dO V', and dS = P (dP - sum dP P) by rows.
            value_gradient[:, :stop] += pattern.mT @ upstream
            of_pattern = upstream @ values[:, :stop].mT
            if sink_gradient is not None:
                # The sink's value is zero: dS = P (0 - sum dP P) with its own P, which is what the row lacks.
                missing = 1 - pattern.sum(dim=-1, dtype=torch.promote_types(pattern.dtype, torch.float32))
                of_sinks = -missing * (of_pattern * pattern).sum(dim=-1)  # (B * K, G * (stop - start))
                sink_gradient += of_sinks.view(B, H, -1).sum(dim=(0, 2)).to(sinks.dtype)
            of_scores = torch._softmax_backward_data(of_pattern, pattern, -1, pattern.dtype)
            if ctx.cap is not None:
                capped = soft_capped_(torch.bmm(block, keys[:, :stop].mT), ctx.cap)
                of_scores *= soft_cap_slope_(capped, ctx.cap)
            # With S = QK' / sqrt D: dQ = dS K / sqrt D, dK = dS' Q / sqrt D.
            of_block = torch.bmm(of_scores, keys[:, :stop]).mul_(D**-0.5)
            query_gradient[:, start:stop] = _unstacked(of_block, B, stop - start)
            key_gradient[:, :stop] += of_scores.mT @ block
        return (
            query_gradient.view(B, T, H, D).transpose(1, 2),
            key_gradient.view(B, K, T, D),
            value_gradient.view(B, K, T, V),
            sink_gradient,
            None,
        )


def _query_block(x: Tensor, num_kv_heads: int, start: int, stop: int) -> Tensor:
    """Queries start to stop of (B, H, T, D), all of a group one after the other: (B * K, G * (stop - start), D)."""
    return x[:, :, start:stop].reshape(x.shape[0] * num_kv_heads, -1, x.shape[3])


def _unstacked(x: Tensor, batch_size: int, num_queries: int) -> Tensor:
    """(B * K, G * T, D) as (B, T, K, G, D)."""
    return x.view(batch_size, -1, x.shape[1] // num_queries, num_queries, x.shape[2]).permute(0, 3, 1, 2, 4)


def _pattern(
    block: Tensor, keys: Tensor, start: int, stop: int, group_size: int, sinks: Tensor | None, cap: float | None
) -> Tensor:
    """Where queries start to stop, which are divided by sqrt d_k, look: (B * K, G * (stop - start), stop)."""
    scores = soft_capped_(torch.bmm(block, keys[:, :stop].mT), cap)
    length = stop - start
    later = torch.full((length, length), float("-inf"), dtype=block.dtype).triu(1)
    scores.view(-1, length, stop)[:, :, start:] += later  # all keys before are visible to each of them
    if sinks is not None:
        by_row = sinks.view(-1, group_size).repeat_interleave(length, dim=1)  # (K, G * length)
        sinks = by_row.repeat(len(block) // len(by_row), 1)[..., None]
    return softmax(scores, sinks)
