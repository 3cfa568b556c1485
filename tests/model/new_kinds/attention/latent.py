"""Multi-head latent attention (DeepSeek-AI 2024, DeepSeek-V2, section 2.1): keys and values of all heads are made from
one latent vector a token, which alone is cached, with one key for the position that all heads share."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from gptsmith.model.attention import Attention, AttentionSettings, CacheShape, score_bias
from gptsmith.model.attention.full import scaled_dot_product
from gptsmith.model.dims import LayerDims
from gptsmith.model.kernels.attention import plain_pattern
from gptsmith.model.layout import Span
from gptsmith.model.linear import fused_projections
from gptsmith.model.position import Positions


class LatentAttentionSettings(AttentionSettings):
    """Every token looks at itself and at all before it, through a narrow cache."""

    kind: Literal["latent"] = "latent"
    latent_dim: int = Field(default=8, gt=0)
    """Width of the latent vector of a token."""

    def build(self, dims: LayerDims, layer: int) -> LatentAttention:
        return LatentAttention(self, dims, layer)

    def cache_shape(self, dims: LayerDims) -> CacheShape:
        return CacheShape(keys=(1, self.latent_dim), values=(1, dims.head_dim))


class LatentAttention(Attention):
    """softmax((Q K' + Q_r K_r') / sqrt(2 d)) V with K and V made from the cached latent vectors."""

    def add_projections(self, settings: LatentAttentionSettings, dims: LayerDims) -> None:
        def linear(in_dim: int, out_dim: int, name: str) -> torch.nn.Module:
            return dims.linear.build(in_dim, out_dim, settings.bias, f"attention.{name}")

        all_heads = self.num_heads * self.head_dim
        self.query = linear(dims.embed_dim, all_heads, "query")
        self.position_query = linear(dims.embed_dim, all_heads, "position_query")
        self.latent = linear(dims.embed_dim, settings.latent_dim, "latent")
        self.position_key = linear(dims.embed_dim, self.head_dim, "position_key")
        self.key = linear(settings.latent_dim, all_heads, "key")
        self.value = linear(settings.latent_dim, all_heads, "value")
        self.output = linear(all_heads, dims.embed_dim, "output")

    def project(self, x: Tensor, positions: Positions) -> tuple[Tensor, Tensor, Tensor]:
        queries, position_queries, latents, position_keys = fused_projections(
            x, self.query, self.position_query, self.latent, self.position_key
        )
        queries = torch.cat((self._heads(queries), positions.rotate(self._heads(position_queries), self.layer)), -1)
        return (
            queries,
            latents[:, None],
            positions.rotate(position_keys[:, None], self.layer),
        )  # (B, H, T, 2D), (B, 1, T, ...)

    def attend(self, queries: Tensor, latents: Tensor, position_keys: Tensor, span: Span) -> Tensor:
        return scaled_dot_product(queries, *self._expanded(latents, position_keys), span)

    def pattern(self, queries: Tensor, latents: Tensor, position_keys: Tensor, span: Span) -> Tensor:
        return plain_pattern(queries, self._expanded(latents, position_keys)[0], score_bias(queries, span))

    def weighted_values(self, pattern: Tensor, queries: Tensor, latents: Tensor, position_keys: Tensor) -> Tensor:
        return super().weighted_values(pattern, queries, *self._expanded(latents, position_keys))

    def _expanded(self, latents: Tensor, position_keys: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B, H, S, 2D) and values (B, H, S, D) of all heads, made of what is cached."""
        keys, values = (self._heads(x) for x in fused_projections(latents[:, 0], self.key, self.value))  # (B, H, S, D)
        return torch.cat((keys, position_keys.expand_as(keys)), dim=-1), values

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)  # (B, T, H * D) -> (B, H, T, D)
