"""Scaled dot-product attention, softmax(QK'/sqrt d_k)V (Vaswani et al. 2017, equation 1)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptsmith.model.attention import Attention, DotProductAttentionSettings, score_bias
from gptsmith.model.dims import LayerDims
from gptsmith.model.kernels.attention import causal_attention, masked_attention, plain_attention
from gptsmith.model.layout import Span


class FullAttentionSettings(DotProductAttentionSettings):
    """Every token looks at itself and at all before it."""

    kind: Literal["full"] = "full"

    def build(self, dims: LayerDims, layer: int) -> FullAttention:
        return FullAttention(self, dims, layer)


class FullAttention(Attention):
    """softmax(QK'/sqrt d_k)V."""

    def __init__(self, settings: DotProductAttentionSettings, dims: LayerDims, layer: int) -> None:
        super().__init__(settings, dims, layer)
        self.sinks = nn.Parameter(torch.empty(self.num_heads)) if settings.sinks else None

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, span: Span) -> Tensor:
        return scaled_dot_product(queries, keys, values, span, self.sinks)


def scaled_dot_product(
    queries: Tensor, keys: Tensor, values: Tensor, span: Span, sinks: Tensor | None = None
) -> Tensor:
    """softmax(QK'/sqrt D)V by the fastest way for this device: queries (B, H, T, D), keys (B, K, S, D), values
    (B, K, S, V) and sinks (H) to (B, H, T, V)."""
    if span.mask is None and span.bias is None:
        return causal_attention(queries, keys, values, sinks)
    if span.bias is None and span.packed is not None:
        batches = zip(*map(span.packed.gather, (queries, keys, values)), strict=True)
        return span.packed.scatter([causal_attention(q, k, v, sinks) for q, k, v in batches], len(queries))
    if span.bias is None and span.mask is not None and queries.device.type == "cpu" and not torch.is_grad_enabled():
        return masked_attention(queries, keys, values, span.mask, sinks)
    bias = score_bias(queries, keys, span)
    if sinks is not None:
        return plain_attention(queries, keys, values, bias, sinks)
    is_grouped = queries.shape[1] != keys.shape[1]
    return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, enable_gqa=is_grouped)
