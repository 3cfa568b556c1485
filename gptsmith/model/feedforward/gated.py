"""A gated feed-forward half (Shazeer 2020, equation 6)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from gptsmith.model.dims import LayerDims
from gptsmith.model.feedforward import FeedForwardSettings
from gptsmith.model.linear import fused_projections

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "swiglu": functional.silu,
    "geglu": functional.gelu,
    "geglu_tanh": partial(functional.gelu, approximate="tanh"),
}


class GatedSettings(FeedForwardSettings):
    """(activation(x Wg) * x W1) W2, 8/3 as wide between the layers, so that it costs as much as an `mlp`."""

    kind: Literal["gated"] = "gated"
    activation: Literal["swiglu", "geglu", "geglu_tanh"] = "swiglu"
    """Activation of the gate: swiglu, geglu or geglu_tanh (its approximation by tanh)."""

    def build(self, dims: LayerDims) -> GatedFeedForward:
        return GatedFeedForward(self, dims)

    def width(self, dims: LayerDims) -> int:
        # A multiple of 64, because other programs quantize rows in blocks of 32.
        return self.hidden_dim or -(-8 * dims.embed_dim // (3 * 64)) * 64


class GatedFeedForward(nn.Module):
    """(activation(x Wg) * x W1) W2."""

    def __init__(self, settings: GatedSettings, dims: LayerDims) -> None:
        super().__init__()
        hidden_dim = settings.width(dims)
        self.gate = dims.linear.build(dims.embed_dim, hidden_dim, settings.bias, "feedforward.gate")
        self.input = dims.linear.build(dims.embed_dim, hidden_dim, settings.bias, "feedforward.input")
        self.output = dims.linear.build(hidden_dim, dims.embed_dim, settings.bias, "feedforward.output")
        self.activation = ACTIVATIONS[settings.activation]

    def forward(self, x: Tensor) -> Tensor:
        gate, inner = fused_projections(x, self.gate, self.input)
        return self.output(self.activation(gate) * inner)
