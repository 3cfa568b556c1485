"""No positions: order is known only through the causal mask (Kazemnejad et al. 2023)."""

from __future__ import annotations

from typing import Literal

from gptsmith.model.dims import LayerDims
from gptsmith.model.position import Position, PositionSettings


class NoPositionSettings(PositionSettings):
    """Nothing is added anywhere."""

    kind: Literal["none"] = "none"

    def build(self, dims: LayerDims) -> Position:
        return Position()
