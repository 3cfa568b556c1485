"""A gated feed-forward half (Shazeer 2020, equation 6), and gpt-oss's variant of it (OpenAI 2025)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptsmith.model.dims import LayerDims
from gptsmith.model.feedforward import FeedForwardSettings
from gptsmith.model.linear import fused_projections

OAI_ALPHA, OAI_LIMIT = 1.702, 7.0


def swiglu_oai(gate: Tensor, inner: Tensor) -> Tensor:
    """gpt-oss's SwiGLU: both halves are clamped, the sigmoid is steeper, and the gate itself is added."""
    gate, inner = gate.clamp(max=OAI_LIMIT), inner.clamp(-OAI_LIMIT, OAI_LIMIT)
    return (inner + 1) * (gate * torch.sigmoid(OAI_ALPHA * gate))


ACTIVATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "swiglu": lambda gate, inner: functional.silu(gate) * inner,
    "geglu": lambda gate, inner: functional.gelu(gate) * inner,
    "geglu_tanh": lambda gate, inner: functional.gelu(gate, approximate="tanh") * inner,
    "swiglu_oai": swiglu_oai,
}
"""The output of a gate and of the layer beside it."""


class GatedSettings(FeedForwardSettings):
    """(activation(x Wg) * x W1) W2, 8/3 as wide between the layers, so that it costs as much as an `mlp`."""

    unit_layers: ClassVar[tuple[str, ...]] = ("gate", "input")

    kind: Literal["gated"] = "gated"
    activation: Literal["swiglu", "geglu", "geglu_tanh", "swiglu_oai"] = "swiglu"
    """Activation of the gate: swiglu, geglu, geglu_tanh (its approximation by tanh) or swiglu_oai (gpt-oss's clamped
    form)."""

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
        return self.output(self.activation(gate, inner))
