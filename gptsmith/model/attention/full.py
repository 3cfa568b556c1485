"""Scaled dot-product attention, softmax(QK'/sqrt d_k)V (Vaswani et al. 2017, equation 1)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.model.attention import Attention, AttentionSettings, score_bias
from gptsmith.model.dims import LayerDims
from gptsmith.model.kernels.attention import causal_attention, masked_attention
from gptsmith.model.layout import Span


class FullAttentionSettings(AttentionSettings):
    """Every token looks at itself and at all before it."""

    kind: Literal["full"] = "full"

    def build(self, dims: LayerDims, layer: int) -> FullAttention:
        return FullAttention(self, dims, layer)


class FullAttention(Attention):
    """softmax(QK'/sqrt d_k)V."""

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, span: Span) -> Tensor:
        return scaled_dot_product(queries, keys, values, span)


def scaled_dot_product(queries: Tensor, keys: Tensor, values: Tensor, span: Span) -> Tensor:
    """softmax(QK'/sqrt D)V by the fastest way for this device: queries (B, H, T, D), keys (B, K, S, D) and values
    (B, K, S, V) to (B, H, T, V)."""
    if span.mask is None and span.bias is None:
        return causal_attention(queries, keys, values)
    if span.bias is None and span.packed is not None:
        batches = zip(*map(span.packed.gather, (queries, keys, values)), strict=True)
        return span.packed.scatter([causal_attention(*batch) for batch in batches], len(queries))
    if span.bias is None and span.mask is not None and queries.device.type == "cpu" and not torch.is_grad_enabled():
        return masked_attention(queries, keys, values, span.mask)
    bias = score_bias(queries, keys, span)
    is_grouped = queries.shape[1] != keys.shape[1]
    return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, enable_gqa=is_grouped)
