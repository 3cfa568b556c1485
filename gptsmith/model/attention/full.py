"""Scaled dot-product attention, softmax(QK'/sqrt d_k)V (Vaswani et al. 2017, equation 1)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.model.attention import Attention, AttentionSettings, gathered, score_bias
from gptsmith.model.blocks import Blocks
from gptsmith.model.dims import LayerDims
from gptsmith.model.kernels.attention import causal_attention, masked_attention
from gptsmith.model.layout import Span

FEW_QUERIES = 16
"""Up to so many, attention is computed block by block; beyond, a copy of keys and values in order costs less."""


class FullAttentionSettings(AttentionSettings):
    """Every token looks at itself and at all before it."""

    kind: Literal["full"] = "full"

    def build(self, dims: LayerDims, layer: int) -> FullAttention:
        return FullAttention(self, dims, layer)


class FullAttention(Attention):
    """softmax(QK'/sqrt d_k)V."""

    reads_blocks = True

    def attend(self, queries: Tensor, keys: Tensor | Blocks, values: Tensor | Blocks, span: Span) -> Tensor:
        return scaled_dot_product(queries, keys, values, span)


def scaled_dot_product(queries: Tensor, keys: Tensor | Blocks, values: Tensor | Blocks, span: Span) -> Tensor:
    """softmax(QK'/sqrt D)V by the fastest way for this device: queries (B, H, T, D), keys (B, K, S, D) and values
    (B, K, S, V) to (B, H, T, V)."""
    if isinstance(keys, Blocks) and isinstance(values, Blocks) and queries.shape[2] <= FEW_QUERIES:
        return _block_attention(queries, keys, values, span)
    keys, values = gathered(keys, queries.dtype), gathered(values, queries.dtype)
    if span.mask is None and span.bias is None:
        return causal_attention(queries, keys, values)
    if span.bias is None and span.packed is not None:
        batches = zip(*map(span.packed.gather, (queries, keys, values)), strict=True)
        return span.packed.scatter([causal_attention(*batch) for batch in batches], len(queries))
    if span.bias is None and span.mask is not None and queries.device.type == "cpu" and not torch.is_grad_enabled():
        return masked_attention(queries, keys, values, span.mask)
    bias = score_bias(queries, span)
    is_grouped = queries.shape[1] != keys.shape[1]
    return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, enable_gqa=is_grouped)


def _block_attention(queries: Tensor, keys: Blocks, values: Blocks, span: Span) -> Tensor:
    """The same over keys and values where they lie in a paged cache: fewer numbers are read than to copy them."""
    scores = keys.scores(queries * queries.shape[3] ** -0.5)  # (B, H, T, S)
    if span.bias is not None:
        scores = scores + score_bias(queries, span)
    elif span.mask is not None:
        scores.masked_fill_(~span.mask, float("-inf"))
    return values.mix(scores.softmax(dim=-1))
