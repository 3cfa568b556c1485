"""The kinds of norm.

Contract: `settings.build(dim)` returns a module that normalises the last dimension of (..., dim), in its input's dtype.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from pydantic import Field
from torch import nn

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings


class NormSettings(Settings):
    """Settings of every kind of norm."""

    kind: str
    epsilon: float = Field(default=1e-5, gt=0)
    """Added to the variance (or the mean square), so that a constant vector does not divide by zero."""

    @abstractmethod
    def build(self, dim: int) -> nn.Module:
        """A module of this kind."""


KINDS = Kinds(__name__, NormSettings, default="layernorm")
AnyNorm = Annotated[NormSettings, KINDS]
