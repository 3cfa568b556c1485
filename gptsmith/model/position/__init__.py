"""The kinds of position: how the model knows where a token stands.

Contract: a module with three moments, each "do nothing" by default: `embed` adds to the token embeddings, `rotate`
turns queries and keys, `bias` adds to the attention scores. Every attention works with every kind of position.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from torch import Tensor, nn

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings

if TYPE_CHECKING:
    from gptsmith.model.config import GPTConfig


class PositionSettings(Settings):
    """What every kind of position has."""

    kind: str

    @abstractmethod
    def build(self, config: GPTConfig) -> Position:
        """A module of this kind."""


class Position(nn.Module):
    """Knows nothing of positions: the base of the kinds that do."""

    def embed(self, x: Tensor, ids: Tensor) -> Tensor:
        """Token embeddings (B, T, C) at positions `ids` (T) or (B, T), with what this kind adds to them."""
        return x

    def rotation(self, ids: Tensor) -> Any:
        """What `rotate` needs to know of the positions, computed once a forward pass."""
        return None

    def rotate(self, x: Tensor, rotation: Any) -> Tensor:
        """Queries or keys (B, H, T, D), turned by their positions."""
        return x

    def bias(self, query_ids: Tensor, key_ids: Tensor) -> Tensor | None:
        """What is added to the scores: (H, T, S) or (B, H, T, S), or nothing."""
        return None


@dataclass(frozen=True)
class Positions:
    """What one forward pass knows of where its tokens stand; every layer reads it."""

    kind: Position
    rotation: Any
    bias: Tensor | None

    @classmethod
    def of(cls, kind: Position, query_ids: Tensor, key_ids: Tensor) -> Positions:
        """The positions of queries (T) or (B, T) and of the keys (S) or (B, S) that they may look at."""
        return cls(kind, kind.rotation(query_ids), kind.bias(query_ids, key_ids))

    def rotate(self, x: Tensor) -> Tensor:
        """Queries or keys (B, H, T, D) of the tokens of this pass, turned by their positions."""
        return self.kind.rotate(x, self.rotation)


KINDS = Kinds(__name__, PositionSettings, default="learned")
AnyPosition = Annotated[PositionSettings, KINDS]
