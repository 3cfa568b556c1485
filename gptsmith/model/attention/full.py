"""Scaled dot-product attention, softmax(QK'/sqrt d_k)V (Vaswani et al. 2017, equation 1)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptsmith.model.attention import Attention, DotProductAttentionSettings, gathered, score_bias
from gptsmith.model.blocks import Blocks
from gptsmith.model.dims import LayerDims
from gptsmith.model.kernels.attention import causal_attention, masked_attention, plain_attention, plain_pattern, softmax
from gptsmith.model.kernels.soft_cap import soft_capped_
from gptsmith.model.layout import Span

FEW_QUERIES = 16
"""Up to so many, attention is computed block by block; beyond, a copy of keys and values in order costs less."""


class FullAttentionSettings(DotProductAttentionSettings):
    """Every token looks at itself and at all before it."""

    kind: Literal["full"] = "full"

    def build(self, dims: LayerDims, layer: int) -> FullAttention:
        return FullAttention(self, dims, layer)


class FullAttention(Attention):
    """softmax(QK'/sqrt d_k)V."""

    reads_blocks = True

    def __init__(self, settings: DotProductAttentionSettings, dims: LayerDims, layer: int) -> None:
        super().__init__(settings, dims, layer)
        self.sinks = nn.Parameter(torch.empty(self.num_heads)) if settings.sinks else None
        self.score_cap = settings.score_cap

    def pattern(self, queries: Tensor, keys: Tensor, values: Tensor, span: Span) -> Tensor:
        return plain_pattern(queries, keys, score_bias(queries, span), self.sinks, self.score_cap)

    def attend(self, queries: Tensor, keys: Tensor | Blocks, values: Tensor | Blocks, span: Span) -> Tensor:
        return scaled_dot_product(queries, keys, values, span, self.sinks, self.score_cap)


def scaled_dot_product(
    queries: Tensor,
    keys: Tensor | Blocks,
    values: Tensor | Blocks,
    span: Span,
    sinks: Tensor | None = None,
    cap: float | None = None,
) -> Tensor:
    """softmax(QK'/sqrt D)V by the fastest way for this device: queries (B, H, T, D), keys (B, K, S, D), values
    (B, K, S, V) and sinks (H) to (B, H, T, V), with a soft cap of QK'/sqrt D."""
    if isinstance(keys, Blocks) and isinstance(values, Blocks) and queries.shape[2] <= FEW_QUERIES:
        return _block_attention(queries, keys, values, span, sinks, cap)
    keys, values = gathered(keys, queries.dtype), gathered(values, queries.dtype)
    if span.mask is None and span.bias is None:
        return causal_attention(queries, keys, values, sinks, cap)
    if span.bias is None and span.packed is not None:
        batches = zip(*map(span.packed.gather, (queries, keys, values)), strict=True)
        return span.packed.scatter([causal_attention(q, k, v, sinks, cap) for q, k, v in batches], len(queries))
    if span.bias is None and span.mask is not None and queries.device.type == "cpu" and not torch.is_grad_enabled():
        return masked_attention(queries, keys, values, span.mask, sinks, cap)
    bias = score_bias(queries, span)
    if sinks is not None or cap is not None:
        return plain_attention(queries, keys, values, bias, sinks, cap)
    is_grouped = queries.shape[1] != keys.shape[1]
    return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, enable_gqa=is_grouped)


def _block_attention(
    queries: Tensor, keys: Blocks, values: Blocks, span: Span, sinks: Tensor | None, cap: float | None
) -> Tensor:
    """The same over keys and values where they lie in a paged cache: fewer numbers are read than to copy them."""
    scores = soft_capped_(keys.scores(queries * queries.shape[3] ** -0.5), cap)  # (B, H, T, S)
    if span.bias is not None or (span.mask is None and queries.shape[2] > 1):
        scores = scores + score_bias(queries, span)
    elif span.mask is not None:
        scores.masked_fill_(~span.mask, float("-inf"))
    return values.weighted_sum(softmax(scores, None if sinks is None else sinks.view(-1, 1, 1)))
