"""Attention that adds its query to what it found: softmax(QK'/sqrt d_k)V + Q."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from gptsmith.model.attention import DotProductAttentionSettings
from gptsmith.model.attention.full import FullAttention
from gptsmith.model.blocks import Blocks
from gptsmith.model.dims import LayerDims
from gptsmith.model.layout import Span


class ResidualQueryAttentionSettings(DotProductAttentionSettings):
    """The query itself is added to the mixed values."""

    kind: Literal["residual_query"] = "residual_query"

    def build(self, dims: LayerDims, layer: int) -> ResidualQueryAttention:
        return ResidualQueryAttention(self, dims, layer)


class ResidualQueryAttention(FullAttention):
    """softmax(QK'/sqrt d_k)V + Q, where Q is the query as it met the keys."""

    def weighted_values(self, pattern: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return super().weighted_values(pattern, queries, keys, values) + queries

    def attend(self, queries: Tensor, keys: Tensor | Blocks, values: Tensor | Blocks, span: Span) -> Tensor:
        return super().attend(queries, keys, values, span) + queries
