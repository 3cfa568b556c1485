"""The kinds of position: how the model knows where a token stands.

Contract: a module with three moments, each "do nothing" by default: `embed` adds to the token embeddings, `rotate`
rotates queries and keys, `bias` adds to the attention scores. Every attention works with every kind of position.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from torch import Tensor, nn

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.model.dims import LayerDims
from gptsmith.model.layout import Layout, Span


class PositionSettings(Settings):
    """Settings of every kind of position."""

    kind: str

    @abstractmethod
    def build(self, dims: LayerDims) -> Position:
        """A module of this kind."""

    def of_layers(self, kept: Sequence[int]) -> Self:
        """The settings of a model of some of the layers, numbered anew. Most kinds do not tell layers apart."""
        return self


class Position(nn.Module):
    """No positions: the base of the kinds that have some."""

    def embed(self, x: Tensor, ids: Tensor) -> Tensor:
        """Token embeddings (B, T, C) at positions `ids` (T) or (B, T), with this kind's own added."""
        return x

    def rotation(self, ids: Tensor) -> Any:
        """The argument of `rotate` for these positions, computed once per forward pass."""
        return None

    def rotate(self, x: Tensor, rotation: Any, layer: int) -> Tensor:
        """Queries or keys (B, H, T, D) of a layer, rotated by their positions."""
        return x

    def bias(self, query_ids: Tensor, key_ids: Tensor) -> Tensor | None:
        """The bias of the scores, (H, T, S) or (B, H, T, S), or None."""
        return None


@dataclass(frozen=True)
class Positions:
    """The positions of the tokens of one forward pass, and the keys that each span may attend to; every layer reads it.

    Attributes:
        kind: rotates queries and keys.
        rotation: its rotation for the tokens of this pass.
        spans: the tokens in order, in groups that attend together, each with the bias of its scores.
        windowed: the same for layers that see only a window of so many tokens, where it differs.
    """

    kind: Position
    rotation: Any
    spans: Sequence[Span]
    windowed: Mapping[int, Sequence[Span]]

    @classmethod
    def of(cls, kind: Position, layout: Layout) -> Positions:
        """The positions of a pass: computed once, before its first layer."""

        def biased(spans: Sequence[Span]) -> list[Span]:
            return [replace(span, bias=kind.bias(span.query_ids, span.key_ids)) for span in spans]

        windowed = {window: biased(spans) for window, spans in layout.windowed.items()}
        return cls(kind, kind.rotation(layout.ids), biased(layout.spans), windowed)

    def spans_of(self, window: int) -> Sequence[Span]:
        """The spans in a layer that sees so many tokens."""
        return self.windowed.get(window, self.spans)

    def rotate(self, x: Tensor, layer: int) -> Tensor:
        """Queries or keys (B, H, T, D) that a layer made of the tokens of this pass, rotated by their positions."""
        return self.kind.rotate(x, self.rotation, layer)


KINDS = Kinds(__name__, PositionSettings, default="learned")
AnyPosition = Annotated[PositionSettings, KINDS]
