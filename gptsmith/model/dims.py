"""The dimensions that the layers of a model are built from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gptsmith.model.linear import LinearSettings
from gptsmith.model.norm import NormSettings

LARGEST_DIM, LARGEST_CONTEXT, MOST_HEADS, MOST_LAYERS = 2**24, 2**31 - 1, 2**16, 10_000
"""Bounds of a shape that anybody may have written: far above every model, and such that looking at it takes seconds."""


def renumbered(layers: Collection[int], kept: Sequence[int]) -> list[int]:
    """The numbers that some layers have in a model of the layers `kept`; those that are not kept have none."""
    return [number for number, layer in enumerate(kept) if layer in layers]


@dataclass(frozen=True)
class LayerDims:
    """The widths of a model, and the kinds that its layers are built from.

    Attributes:
        embed_dim: C, the width of the residual stream.
        num_heads: H, query heads.
        head_dim: D, the width of a head.
        context_length: the most tokens that the model sees at once.
        linear: builds linear layers.
        norm: builds norms.
    """

    embed_dim: int
    num_heads: int
    head_dim: int
    context_length: int
    linear: LinearSettings
    norm: NormSettings
