"""Additive attention, softmax(v' tanh(Wq + Uk))V (Bahdanau, Cho and Bengio 2015, appendix A.1.2), one v a head."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gptsmith.model.attention import Attention, AttentionSettings, for_each_query_head, score_bias
from gptsmith.model.config import GPTConfig

MAX_ELEMENTS = 1 << 24
"""How many values of tanh(Wq + Uk) stand in memory at once: they are (B, H, T, S, D)."""


class AdditiveAttentionSettings(AttentionSettings):
    """Scores come from a small network of query and key instead of from their product."""

    kind: Literal["additive"] = "additive"

    def build(self, config: GPTConfig, layer: int) -> AdditiveAttention:
        return AdditiveAttention(config, layer)


class AdditiveAttention(Attention):
    """softmax(v' tanh(Wq + Uk))V, by blocks of queries, recomputed in the backward pass."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.score = nn.Parameter(torch.empty(self.num_heads, self.head_dim))

    def mix(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        T = queries.shape[2]
        keys, values = (for_each_query_head(shared, self.num_heads) for shared in (keys, values))
        added = score_bias(queries, keys, mask, bias).expand(queries.shape[0], self.num_heads, T, keys.shape[2])
        rows = max(1, MAX_ELEMENTS // keys.numel())
        blocks = [
            checkpoint(
                self._mix_block, queries[:, :, start : start + rows], keys, values,
                added[:, :, start : start + rows], use_reentrant=False,
            )
            for start in range(0, T, rows)
        ]  # fmt: skip
        return torch.cat(blocks, dim=2)

    def _mix_block(self, queries: Tensor, keys: Tensor, values: Tensor, added: Tensor) -> Tensor:
        hidden = torch.tanh(queries[:, :, :, None] + keys[:, :, None])  # (B, H, T, S, D)
        scores = torch.einsum("bhtsd,hd->bhts", hidden, self.score.to(hidden.dtype)) + added
        return scores.softmax(dim=-1) @ values
