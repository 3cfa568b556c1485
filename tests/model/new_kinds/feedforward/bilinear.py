"""A bilinear feed-forward half (Shazeer 2020, equation 5: a gate without activation)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from gptsmith.model.dims import LayerDims
from gptsmith.model.feedforward import FeedForwardSettings
from gptsmith.model.linear import fused_projections


class BilinearSettings(FeedForwardSettings):
    """(x Wg * x W1) W2."""

    kind: Literal["bilinear"] = "bilinear"

    def build(self, dims: LayerDims) -> Bilinear:
        return Bilinear(self, dims)

    def width(self, dims: LayerDims) -> int:
        return self.hidden_dim or 2 * dims.embed_dim


class Bilinear(nn.Module):
    """(x Wg * x W1) W2."""

    def __init__(self, settings: BilinearSettings, dims: LayerDims) -> None:
        super().__init__()
        width = settings.width(dims)
        self.gate = dims.linear.build(dims.embed_dim, width, settings.bias, "feedforward.gate")
        self.input = dims.linear.build(dims.embed_dim, width, settings.bias, "feedforward.input")
        self.output = dims.linear.build(width, dims.embed_dim, settings.bias, "feedforward.output")

    def forward(self, x: Tensor) -> Tensor:
        gate, inner = fused_projections(x, self.gate, self.input)  # (B, T, hidden) each
        return self.output(gate * inner)
