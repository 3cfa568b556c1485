"""Causal and masked attention with the gradient written out, for CPUs: fewer passes over memory than autograd's.

PyTorch's own forms are the plain twins: on a GPU they are as fast, and everywhere they say what is right.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

QUERY_BLOCK = 256
"""Queries that are scored together. A block reads no key behind its last query: half the work of a square."""
FEW_QUERIES = 64
"""Up to so many, PyTorch's kernel is faster than products of whole blocks: a third to a half of their time."""
MAX_KEPT_PATTERN = 1 << 24
"""Attention patterns of up to this many numbers are kept for the backward pass; larger ones are computed again."""


def causal_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """softmax(QK'/sqrt d_k)V, each query over the keys up to its own.

    Args:
        queries: (B, H, T, D).
        keys: (B, K, T, D). Queries of one group share a key head: H is a multiple of K.
        values: (B, K, T, V).

    Returns:
        (B, H, T, V).
    """
    if queries.device.type == "cpu" and queries.shape[2] > 1:
        mixed: Tensor = _CausalAttention.apply(queries, keys, values)  # type: ignore[no-untyped-call]
        return mixed
    return functional.scaled_dot_product_attention(
        queries, keys, values, is_causal=queries.shape[2] > 1, enable_gqa=queries.shape[1] != keys.shape[1]
    )


def masked_attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """softmax(QK'/sqrt d_k)V where `mask` (B or 1, 1, T, S) lets queries (B, H, T, D) look at keys (B, K, S, D): by
    products that need no copy of keys and values that are a part of a larger cache."""
    B, H, T, D = queries.shape
    K, S = keys.shape[1], keys.shape[2]
    if 1 < T <= FEW_QUERIES and H == K:
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    # A few queries at a time, those of one group as rows of one matrix: keys are neither repeated nor copied.
    mask = mask.view(-1, 1, 1, *mask.shape[-2:])  # (B or 1, 1, 1, T, S)
    mixed = queries.new_empty(B, K, H // K, T, values.shape[3])
    for start in range(0, T, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, T)
        block = queries[:, :, start:stop].reshape(B, K, H // K * (stop - start), D)
        scores = (block * D**-0.5) @ keys.transpose(-1, -2)
        allowed = mask[..., start:stop, :]
        scores = scores.view(B, K, H // K, stop - start, S).masked_fill_(~allowed, float("-inf"))
        pattern = scores.softmax(dim=-1).view(B, K, H // K * (stop - start), S)
        mixed[:, :, :, start:stop] = (pattern @ values).view(B, K, H // K, stop - start, -1)
    return mixed.view(B, H, T, -1)


class _CausalAttention(torch.autograd.Function):
    """By matrix products of whole blocks, which run at the machine's full rate where PyTorch's kernel does not."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        B, H, T, D = queries.shape
        K, V = keys.shape[1], values.shape[3]
        # One matrix product per block of queries, over the keys up to its last query.
        flat_keys, flat_values = keys.reshape(B * K, T, D), values.reshape(B * K, T, V)
        mixed = queries.new_empty(B, T, K, H // K, V)
        keep = any(ctx.needs_input_grad) and B * H * T * T <= MAX_KEPT_PATTERN
        patterns = []
        for start in range(0, T, QUERY_BLOCK):
            stop = min(start + QUERY_BLOCK, T)
            block = _query_block(queries, K, start, stop)
            pattern = _pattern(block, flat_keys, start, stop, H // K)
            mixed[:, start:stop] = _unstacked(pattern @ flat_values[:, :stop], B, stop - start)
            if keep:
                patterns.append(pattern)
        ctx.save_for_backward(queries, flat_keys, flat_values, *patterns)
        return mixed.view(B, T, H, V).transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys, values, *patterns = ctx.saved_tensors
        B, H, T, D = queries.shape
        K, V = keys.shape[0] // B, values.shape[2]
        query_gradient = queries.new_empty(B, T, K, H // K, D)
        key_gradient, value_gradient = torch.zeros_like(keys), torch.zeros_like(values)
        for number, start in enumerate(range(0, T, QUERY_BLOCK)):
            stop = min(start + QUERY_BLOCK, T)
            block = _query_block(queries, K, start, stop)
            upstream = _query_block(gradients[0], K, start, stop)
            pattern = patterns[number] if patterns else _pattern(block, keys, start, stop, H // K)
            # With P = softmax(S), O = PV: dV = P' dO, dP = dO V', and dS = P (dP - sum dP P) by rows.
            value_gradient[:, :stop] += pattern.mT @ upstream
            of_pattern = upstream @ values[:, :stop].mT
            of_scores = torch._softmax_backward_data(of_pattern, pattern, -1, pattern.dtype)
            of_scores *= D**-0.5
            # With S = QK' / sqrt D: dQ = dS K / sqrt D, dK = dS' Q / sqrt D.
            query_gradient[:, start:stop] = _unstacked(of_scores @ keys[:, :stop], B, stop - start)
            key_gradient[:, :stop] += of_scores.mT @ block
        return (
            query_gradient.view(B, T, H, D).transpose(1, 2),
            key_gradient.view(B, K, T, D),
            value_gradient.view(B, K, T, V),
        )


def _query_block(x: Tensor, num_kv_heads: int, start: int, stop: int) -> Tensor:
    """Queries start to stop of (B, H, T, D), all of a group one after the other: (B * K, G * (stop - start), D)."""
    return x[:, :, start:stop].reshape(x.shape[0] * num_kv_heads, -1, x.shape[3])


def _unstacked(x: Tensor, batch_size: int, num_queries: int) -> Tensor:
    """(B * K, G * T, D) as (B, T, K, G, D)."""
    return x.view(batch_size, -1, x.shape[1] // num_queries, num_queries, x.shape[2]).permute(0, 3, 1, 2, 4)


def _pattern(block: Tensor, keys: Tensor, start: int, stop: int, num_groups: int) -> Tensor:
    """Where queries start to stop look, (B * K, G * (stop - start), stop)."""
    later = torch.full((stop - start, stop), float("-inf"), dtype=block.dtype).triu(start + 1).repeat(num_groups, 1)
    scores = torch.baddbmm(later, block, keys[:, :stop].mT, alpha=block.shape[2] ** -0.5)
    return torch.softmax(scores, dim=-1)
