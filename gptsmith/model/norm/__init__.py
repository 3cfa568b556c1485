"""The kinds of norm.

Contract: `settings.build(dim)` returns a module that normalises the last dimension of (..., dim), in its input's dtype.
A norm may say what linear map it is for inputs of one scale, by `frozen(x)`: direct logit attribution asks for it.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings


@dataclass(frozen=True)
class FrozenNorm:
    """The linear map that a norm is where the scale of its input is given: gain * (x - mean x, or x) + bias.

    Attributes:
        gain: (..., C).
        is_centred: whether the mean is taken away.
        bias: (C), or None.
    """

    gain: Tensor
    is_centred: bool = False
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The norm of `x` (..., C), or of a part of it, without the bias."""
        return (x - x.mean(dim=-1, keepdim=True) if self.is_centred else x) * self.gain

    def before(self, direction: Tensor) -> Tensor:
        """The direction (..., C) before the norm whose product with any input is that of `direction` with its norm."""
        before = direction * self.gain
        return before - before.mean(dim=-1, keepdim=True) if self.is_centred else before


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
