"""The kinds of attention.

Contract: `forward(x, positions, cache)` maps (B, T, C) to (B, T, C); causal; the same with a cache as without. It is
`project`, then `attend`, then `combine`: a kind overrides the one in which it differs, and `add_projections` if its
linear layers are others. A kind may say where its queries look, by `pattern`; `weighted_values` of that is what
`attend` computes in a faster way. Its settings give the shape of what is cached.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from gptsmith.base.errors import UserError
from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.model.blocks import Blocks
from gptsmith.model.dims import MOST_HEADS, LayerDims
from gptsmith.model.kernels.attention import weighted_sum
from gptsmith.model.kernels.twins import uses_twins
from gptsmith.model.layout import KeysAndValues, KVCache, Span, causal_mask
from gptsmith.model.linear import fused_projections
from gptsmith.model.position import Positions


class CacheShape(NamedTuple):
    """The shape of what a layer caches for each token: (heads, width) of its keys and of its values."""

    keys: tuple[int, int]
    values: tuple[int, int]


class AttentionSettings(Settings):
    """Settings of every kind of attention."""

    is_slow: ClassVar[bool] = False
    """Whether it takes so much longer than a product of queries and keys that a plan must measure it."""

    kind: str
    num_kv_heads: int | None = Field(default=None, gt=0, le=MOST_HEADS)
    """Heads of keys and values, shared by groups of query heads (Ainslie et al. 2023). As many as query heads
    if None (multi-head); 1 is multi-query attention (Shazeer 2019)."""
    qk_norm: bool = False
    """Whether queries and keys are normalised before their product (Henry et al. 2020)."""
    qk_norm_per_head: bool = True
    """Whether each head is normalised by itself, or all of them as one vector (OLMo 2)."""
    scale: float | None = Field(default=None, gt=0)
    """The products of queries and keys are multiplied by it; 1 / sqrt(head_dim) if None (Granite, Gemma)."""
    bias: bool = False
    """Whether the projections have biases."""
    output_bias: bool | None = None
    """Whether the output projection has one; like the others if None (Qwen2's others have one)."""

    @abstractmethod
    def build(self, dims: LayerDims, layer: int) -> Attention:
        """A module of this kind for one layer."""

    def of_layers(self, kept: Sequence[int]) -> Self:
        """The settings of a model of some of the layers, numbered anew. Most kinds do not tell layers apart."""
        return self

    def remarks(self, context_length: int) -> list[str]:
        """Sentences for a person who chooses this kind for such a context; most kinds need none."""
        return []

    def visible_tokens(self, layer: int, context_length: int) -> int:
        """The tokens, itself included, that the last token of a context sees in a layer."""
        return context_length

    def cache_shape(self, dims: LayerDims) -> CacheShape:
        """The shape of a token's keys and values in a cache."""
        heads = self.num_kv_heads or dims.num_heads
        return CacheShape((heads, dims.head_dim), (heads, dims.head_dim))


class DotProductAttentionSettings(AttentionSettings):
    """Settings of every kind whose scores are products of queries and keys."""

    sinks: bool = False
    """Whether each head has a learnt score that takes part in its softmax and stands for no value, so that a token may
    attend to nothing (gpt-oss; Xiao et al. 2023)."""
    score_cap: float | None = Field(default=None, gt=0)
    """The soft cap c of scores, each of which becomes c tanh(score / c); none if None (Gemma 2)."""


class Attention(nn.Module):
    """Projects to queries, keys and values, attends, projects back.

    Attributes:
        layer: which layer of the model it is, from 0.
        window: the most tokens that one attends to, itself included.
    """

    reads_blocks: ClassVar[bool] = False
    """Whether `attend` takes keys and values also as the blocks in which a paged cache holds them; else it gets a copy
    of them in order."""

    def __init__(self, settings: AttentionSettings, dims: LayerDims, layer: int) -> None:
        super().__init__()
        self.layer, self.num_heads, self.head_dim = layer, dims.num_heads, dims.head_dim
        self.num_kv_heads = settings.num_kv_heads or dims.num_heads
        self.window = settings.visible_tokens(layer, dims.context_length)
        # What attends divides by sqrt(D).
        self.query_multiplier = 1.0 if settings.scale is None else settings.scale * dims.head_dim**0.5
        self.add_projections(settings, dims)

    def add_projections(self, settings: AttentionSettings, dims: LayerDims) -> None:
        """Builds the linear layers and norms that `project` and `combine` use."""
        linear = dims.linear
        query_dim, kv_dim = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        output_bias = settings.bias if settings.output_bias is None else settings.output_bias
        self.query = linear.build(dims.embed_dim, query_dim, settings.bias, "attention.query")
        self.key = linear.build(dims.embed_dim, kv_dim, settings.bias, "attention.key")
        self.value = linear.build(dims.embed_dim, kv_dim, settings.bias, "attention.value")
        self.output = linear.build(query_dim, dims.embed_dim, output_bias, "attention.output")
        self.norms_heads = settings.qk_norm_per_head
        query_width, key_width = (self.head_dim, self.head_dim) if self.norms_heads else (query_dim, kv_dim)
        self.query_norm = dims.norm.build(query_width) if settings.qk_norm else nn.Identity()
        self.key_norm = dims.norm.build(key_width) if settings.qk_norm else nn.Identity()

    def forward(self, x: Tensor, positions: Positions, cache: KVCache | None) -> Tensor:
        """The attention's output for `x` (B, T, C).

        Args:
            positions: where the tokens of `x` stand, and what each span of them may attend to.
            cache: keys and values of earlier tokens; those of `x` are added to it.
        """
        queries, keys, values = self.project(x, positions)
        if self.query_multiplier != 1:
            queries = queries * self.query_multiplier
        spans = positions.spans_of(self.window)
        visible: Sequence[KeysAndValues] = [(keys, values)] if cache is None else cache.update(self.layer, keys, values)
        attended = [
            span.restore(self._attend(span.select(queries), span_keys, span_values, span))
            for span, (span_keys, span_values) in zip(spans, visible, strict=True)
        ]
        return self.combine(torch.cat(attended, dim=2) if len(attended) > 1 else attended[0], x)

    def project(self, x: Tensor, positions: Positions) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, T, D) and what is cached: keys (B, K, T, D) and values (B, K, T, D)."""
        B, T, _ = x.shape
        queries, keys, values = fused_projections(x, self.query, self.key, self.value)
        if not self.norms_heads:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        queries = queries.view(B, T, self.num_heads, self.head_dim).transpose(1, 2)  # (B, H, T, D)
        keys = keys.view(B, T, self.num_kv_heads, self.head_dim).transpose(1, 2)  # (B, K, T, D)
        values = values.view(B, T, self.num_kv_heads, self.head_dim).transpose(1, 2)  # (B, K, T, D)
        if self.norms_heads:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        return positions.rotate(queries, self.layer), positions.rotate(keys, self.layer), values

    def _attend(self, queries: Tensor, keys: Tensor | Blocks, values: Tensor | Blocks, span: Span) -> Tensor:
        if uses_twins():
            return self.plain_attend(queries, keys, values, span)
        if not self.reads_blocks:
            keys, values = gathered(keys, queries.dtype), gathered(values, queries.dtype)
        return self.attend(queries, keys, values, span)  # type: ignore[arg-type]

    def pattern(self, queries: Tensor, keys: Tensor, values: Tensor, span: Span) -> Tensor:
        """Where each query looks, (B, H, T, S), as the formula says it; its gradient has gradients. The arguments are
        those of `attend`.

        Raises:
            UserError: this kind does not say.
        """
        raise UserError(f"attention of the kind {type(self).__name__} does not say where it looks: it has no pattern")

    def weighted_values(self, pattern: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The result of `attend`, (B, H, T, D), for a pattern (B, H, T, S)."""
        return weighted_sum(pattern, values)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, span: Span) -> Tensor:
        """The values (B, K, S, D), weighted for each query (B, H, T, D): (B, H, T, D). H is a multiple of K.

        Args:
            span: which keys each query may attend to, and the bias of their scores.
        """
        return self.plain_attend(queries, keys, values, span)

    def plain_attend(self, queries: Tensor, keys: Tensor | Blocks, values: Tensor | Blocks, span: Span) -> Tensor:
        """The same with the whole pattern in memory: the plain twin of a kind's faster way."""
        keys, values = gathered(keys, queries.dtype), gathered(values, queries.dtype)
        return self.weighted_values(self.pattern(queries, keys, values, span), queries, keys, values)

    def combine(self, attended: Tensor, x: Tensor) -> Tensor:
        """The output (B, T, C) from what the queries found (B, H, T, D), for the attention's input `x` (B, T, C)."""
        B, H, T, D = attended.shape
        return self.output(attended.transpose(1, 2).reshape(B, T, H * D))


def gathered(keys_or_values: Tensor | Blocks, dtype: torch.dtype) -> Tensor:
    """Keys or values as a tensor (B, K, S, D)."""
    return keys_or_values.gather(dtype) if isinstance(keys_or_values, Blocks) else keys_or_values


def repeat_kv(shared: Tensor, num_heads: int) -> Tensor:
    """Keys or values (B, K, S, D), each repeated for all query heads of its group: (B, H, S, D)."""
    return shared.repeat_interleave(num_heads // shared.shape[1], dim=1)


def score_bias(queries: Tensor, span: Span) -> Tensor:
    """The bias of scores (B, H, T, S): the span's own where a query may attend, minus infinity where it may not."""
    T, S = queries.shape[2], span.key_ids.shape[-1]
    allowed = causal_mask(T, S, queries.device) if span.mask is None else span.mask
    zero = torch.zeros((), dtype=queries.dtype, device=queries.device)
    return torch.where(allowed, zero if span.bias is None else span.bias.to(queries.dtype), float("-inf"))


KINDS = Kinds(__name__, AttentionSettings, default="full")
AnyAttention = Annotated[AttentionSettings, KINDS]
