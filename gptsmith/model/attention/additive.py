"""Additive attention, softmax(v' tanh(Wq + Uk))V (Bahdanau, Cho and Bengio 2015, appendix A.1.2), one v a head."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gptsmith.model.attention import Attention, AttentionSettings, repeat_kv, score_bias
from gptsmith.model.dims import LayerDims
from gptsmith.model.layout import Span

MAX_ELEMENTS = 1 << 24
"""How many values of tanh(Wq + Uk) stand in memory at once: they are (B, H, T, S, D)."""


class AdditiveAttentionSettings(AttentionSettings):
    """Scores come from a small network of query and key instead of from their product."""

    kind: Literal["additive"] = "additive"

    def build(self, dims: LayerDims, layer: int) -> AdditiveAttention:
        return AdditiveAttention(self, dims, layer)


class AdditiveAttention(Attention):
    """softmax(v' tanh(Wq + Uk))V, by blocks of queries, recomputed in the backward pass."""

    def __init__(self, settings: AttentionSettings, dims: LayerDims, layer: int) -> None:
        super().__init__(settings, dims, layer)
        self.score = nn.Parameter(torch.empty(self.num_heads, self.head_dim))

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, span: Span) -> Tensor:
        T = queries.shape[2]
        keys, values = (repeat_kv(shared, self.num_heads) for shared in (keys, values))
        bias = score_bias(queries, keys, span).expand(queries.shape[0], self.num_heads, T, keys.shape[2])
        rows = max(1, MAX_ELEMENTS // keys.numel())
        blocks = [
            checkpoint(
                self._attend_block, queries[:, :, start : start + rows], keys, values,
                bias[:, :, start : start + rows], use_reentrant=False,
            )
            for start in range(0, T, rows)
        ]  # fmt: skip
        return torch.cat(blocks, dim=2)

    def _attend_block(self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        hidden = torch.tanh(queries[:, :, :, None] + keys[:, :, None])  # (B, H, T, S, D)
        scores = torch.einsum("bhtsd,hd->bhts", hidden, self.score.to(hidden.dtype)) + bias
        return scores.softmax(dim=-1) @ values
