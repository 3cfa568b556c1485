"""Additive attention, softmax(v' tanh(Wq + Uk))V (Bahdanau, Cho and Bengio 2015, appendix A.1.2), one v a head."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gptsmith.model.attention import Attention, AttentionSettings, repeat_kv, score_bias
from gptsmith.model.dims import LayerDims
from gptsmith.model.kernels.additive import additive_attention, plain_additive_pattern
from gptsmith.model.layout import Span


class AdditiveAttentionSettings(AttentionSettings):
    """Scores come from a small network of query and key instead of from their product."""

    is_slow: ClassVar[bool] = True

    kind: Literal["additive"] = "additive"

    def remarks(self, context_length: int) -> list[str]:
        return [
            "model.attention.kind=additive is several times slower than full attention, and the more so the longer "
            f"the context (here {context_length:,} tokens): it computes a tanh per dimension of each pair of tokens"
        ]

    def build(self, dims: LayerDims, layer: int) -> AdditiveAttention:
        return AdditiveAttention(self, dims, layer)


class AdditiveAttention(Attention):
    """softmax(v' tanh(Wq + Uk))V, by blocks of queries, recomputed in the backward pass."""

    def __init__(self, settings: AttentionSettings, dims: LayerDims, layer: int) -> None:
        super().__init__(settings, dims, layer)
        self.score = nn.Parameter(torch.empty(self.num_heads, self.head_dim))

    def pattern(self, queries: Tensor, keys: Tensor, values: Tensor, span: Span) -> Tensor:
        keys = repeat_kv(keys, queries.shape[1])
        return plain_additive_pattern(queries, keys, self.score, score_bias(queries, span)).to(queries.dtype)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, span: Span) -> Tensor:
        B, H, T, D = queries.shape
        keys, values = (repeat_kv(shared, H) for shared in (keys, values))  # (B, H, S, D)
        bias = None
        if span.mask is not None or span.bias is not None:
            bias = score_bias(queries, span).expand(B, H, T, keys.shape[2]).flatten(0, 1)
        score = self.score.expand(B, H, D).flatten(0, 1)
        attended = additive_attention(queries.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1), score, bias)
        return attended.view(B, H, T, D)
