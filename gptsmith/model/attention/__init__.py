"""The kinds of attention.

Contract: `forward(x, positions, mask, cache)` maps (B, T, C) to (B, T, C); causal; the same with a cache as without.
Queries, keys and values each have their projection here; a kind says only how they are mixed.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.model.linear import products
from gptsmith.model.position import Positions

if TYPE_CHECKING:
    from gptsmith.model.config import GPTConfig
    from gptsmith.model.kv_cache import KeysAndValues


class AttentionSettings(Settings):
    """What every kind of attention has."""

    kind: str
    num_kv_heads: int | None = Field(default=None, gt=0)
    """Heads of keys and values, shared by groups of query heads (Ainslie et al. 2023). As many as query heads where
    it is not given (multi-head); 1 is multi-query attention (Shazeer 2019)."""
    qk_norm: bool = False
    """Whether queries and keys are normalised per head before they meet (Henry et al. 2020)."""
    bias: bool = False
    """Whether the projections have biases."""
    output_bias: bool | None = None
    """Whether the map back to the stream has one; as the others where it is not given (Qwen2's others have one)."""

    @abstractmethod
    def build(self, config: GPTConfig, layer: int) -> Attention:
        """A module of this kind for one layer."""


class Attention(nn.Module):
    """Projects to queries, keys and values, mixes the values, projects back.

    Attributes:
        knows_distance: whether `mix` takes the last key for the place of the last query, besides what a mask says.
    """

    knows_distance = False

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        settings, linear = config.attention, config.linear
        self.layer, self.num_heads, self.num_kv_heads = layer, config.num_heads, config.num_kv_heads
        self.head_dim = config.resolved_head_dim
        query_dim, kv_dim = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        output_bias = settings.bias if settings.output_bias is None else settings.output_bias
        self.query = linear.build(config.embed_dim, query_dim, settings.bias, "attention.query")
        self.key = linear.build(config.embed_dim, kv_dim, settings.bias, "attention.key")
        self.value = linear.build(config.embed_dim, kv_dim, settings.bias, "attention.value")
        self.output = linear.build(query_dim, config.embed_dim, output_bias, "attention.output")
        self.query_norm = config.norm.build(self.head_dim) if settings.qk_norm else nn.Identity()
        self.key_norm = config.norm.build(self.head_dim) if settings.qk_norm else nn.Identity()

    def forward(self, x: Tensor, positions: Positions, mask: Tensor | None, cache: KeysAndValues | None) -> Tensor:
        """The attention's output for `x` (B, T, C).

        Args:
            positions: where the tokens of `x` stand.
            mask: (B or 1, 1, T, S), true where a query may look at a key; nothing means plain causal attention
                within `x`, or a single query that may look at everything.
            cache: keys and values of earlier tokens; those of `x` are added to it.
        """
        B, T, _ = x.shape
        queries, keys, values = products(x, self.query, self.key, self.value)
        queries = queries.view(B, T, self.num_heads, self.head_dim).transpose(1, 2)  # (B, H, T, D)
        keys = keys.view(B, T, self.num_kv_heads, self.head_dim).transpose(1, 2)
        values = values.view(B, T, self.num_kv_heads, self.head_dim).transpose(1, 2)
        queries = positions.rotate(self.query_norm(queries))
        keys = positions.rotate(self.key_norm(keys))
        if cache is None:
            mixed = self.mix(queries, keys, values, mask, positions.bias)
        else:
            mixed = cache.attend(self, queries, keys, values, mask, positions)
        return self.output(mixed.transpose(1, 2).reshape(B, T, self.num_heads * self.head_dim))

    @abstractmethod
    def mix(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        """The values (B, K, S, D) mixed for each query (B, H, T, D): (B, H, T, D). H is a multiple of K."""


def for_each_query_head(shared: Tensor, num_heads: int) -> Tensor:
    """Keys or values (B, K, S, D), each given to all query heads of its group: (B, H, S, D)."""
    return shared.repeat_interleave(num_heads // shared.shape[1], dim=1)


def causal_mask(num_queries: int, num_keys: int, device: torch.device) -> Tensor:
    """(T, S), true where a key is not later than its query; the last query is the last key."""
    query_slots = torch.arange(num_keys - num_queries, num_keys, device=device)
    return torch.arange(num_keys, device=device) <= query_slots[:, None]


def score_bias(queries: Tensor, keys: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
    """What is added to scores (B, H, T, S): the bias where a query may look, minus infinity where it may not."""
    T, S = queries.shape[2], keys.shape[2]
    allowed = causal_mask(T, S, queries.device) if mask is None else mask
    base = torch.zeros((), dtype=queries.dtype, device=queries.device) if bias is None else bias.to(queries.dtype)
    return torch.where(allowed, base, float("-inf"))


KINDS = Kinds(__name__, AttentionSettings, default="full")
AnyAttention = Annotated[AttentionSettings, KINDS]
