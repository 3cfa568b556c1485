"""The kinds of linear map.

Contract: `settings.build(in_dim, out_dim, bias)` returns a module that maps (..., in_dim) to (..., out_dim) in the
dtype of its input.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from torch import nn

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings


class LinearSettings(Settings):
    """What every kind of linear map has."""

    kind: str

    @abstractmethod
    def build(self, in_dim: int, out_dim: int, bias: bool) -> nn.Module:
        """A module of this kind."""


KINDS = Kinds(__name__, LinearSettings, default="plain")
AnyLinear = Annotated[LinearSettings, KINDS]
