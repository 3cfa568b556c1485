"""Sliding-window attention: in every second layer (GPT-3's locally banded attention, Brown et al. 2020, section 2.1;
Child et al. 2019), in all of them (Jiang et al. 2023), or in the ones listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Self

from pydantic import Field
from torch import Tensor

from gptsmith.model.attention import DotProductAttentionSettings
from gptsmith.model.attention.full import FullAttention
from gptsmith.model.blocks import Blocks
from gptsmith.model.dims import LARGEST_CONTEXT, LayerDims, renumbered
from gptsmith.model.layout import Span


class SlidingWindowAttentionSettings(DotProductAttentionSettings):
    """In some layers each token attends to a window of the tokens before it; in the others attention is full."""

    kind: Literal["sliding_window"] = "sliding_window"
    window_size: int = Field(default=256, gt=0, le=LARGEST_CONTEXT)
    """Tokens that such a layer attends to, itself included. GPT-3's figure was not published."""
    layers: Literal["odd", "all"] | list[int] = "odd"
    """Which layers have a window, counted from 0."""

    def is_windowed(self, layer: int) -> bool:
        """Whether a layer has a window."""
        return bool(layer % 2) if self.layers == "odd" else self.layers == "all" or layer in self.layers

    def visible_tokens(self, layer: int, context_length: int) -> int:
        return min(self.window_size, context_length) if self.is_windowed(layer) else context_length

    def of_layers(self, kept: Sequence[int]) -> Self:
        windowed = renumbered([layer for layer in kept if self.is_windowed(layer)], kept)
        if windowed == [number for number in range(len(kept)) if self.is_windowed(number)]:
            return self
        return self.model_copy(update={"layers": windowed})

    def remarks(self, context_length: int) -> list[str]:
        if context_length > self.window_size:
            return []
        return [
            f"model.attention.window_size={self.window_size} covers model.context_length={context_length}: "
            "this model is the same as one with full attention (GPT-3's shape is then GPT-2's)"
        ]

    def build(self, dims: LayerDims, layer: int) -> FullAttention:
        kind = SlidingWindowAttention if self.is_windowed(layer) else FullAttention
        return kind(self, dims, layer)


class SlidingWindowAttention(FullAttention):
    """softmax(QK'/sqrt d_k)V over the nearest tokens."""

    def pattern(self, queries: Tensor, keys: Tensor, values: Tensor, span: Span) -> Tensor:
        return super().pattern(queries, keys, values, self._windowed(span))

    def attend(self, queries: Tensor, keys: Tensor | Blocks, values: Tensor | Blocks, span: Span) -> Tensor:
        return super().attend(queries, keys, values, self._windowed(span))

    def _windowed(self, span: Span) -> Span:
        """The span, whose mask hides what the window does not reach."""
        if self.window >= span.key_ids.shape[-1]:
            return span
        distance = span.query_ids[..., :, None] - span.key_ids[..., None, :]  # (T, S) or (B, T, S)
        # Without a mask attention is causal: no later key.
        near = (distance < self.window) & (distance >= 0)
        near = near[:, None] if near.dim() == 3 else near  # (T, S) or (B, 1, T, S)
        return replace(span, mask=near if span.mask is None else span.mask & near, packed=None)
