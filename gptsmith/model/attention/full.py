"""Scaled dot-product attention, softmax(QK'/sqrt d_k)V (Vaswani et al. 2017, equation 1)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.model.attention import Attention, AttentionSettings, score_bias
from gptsmith.model.config import GPTConfig
from gptsmith.model.kernels.attention import causal_attention, masked_attention


class FullAttentionSettings(AttentionSettings):
    """Every token looks at itself and at all before it."""

    kind: Literal["full"] = "full"

    def build(self, config: GPTConfig, layer: int) -> FullAttention:
        return FullAttention(config, layer)


class FullAttention(Attention):
    """softmax(QK'/sqrt d_k)V."""

    def mix(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        if mask is None and bias is None:
            return causal_attention(queries, keys, values)
        if bias is None and mask is not None and queries.device.type == "cpu" and not torch.is_grad_enabled():
            return masked_attention(queries, keys, values, mask)
        added = score_bias(queries, keys, mask, bias)
        grouped = queries.shape[1] != keys.shape[1]
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=added, enable_gqa=grouped)
