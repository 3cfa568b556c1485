"""Two linear layers with an activation between them (Vaswani et al. 2017, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional

from gptsmith.model.dims import LayerDims
from gptsmith.model.feedforward import FeedForwardSettings


def squared_relu(x: Tensor) -> Tensor:
    """relu(x)^2 (So et al. 2021, Primer)."""
    return functional.relu(x).square()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "relu2": squared_relu,
}


class MLPSettings(FeedForwardSettings):
    """activation(x W1) W2, four times as wide between the layers."""

    unit_layers: ClassVar[tuple[str, ...]] = ("input",)

    kind: Literal["mlp"] = "mlp"
    activation: Literal["gelu", "gelu_tanh", "relu", "relu2"] = "gelu_tanh"
    """Activation between the layers: gelu, gelu_tanh (GPT-2's approximation), relu or relu2 (its square)."""

    def build(self, dims: LayerDims) -> MLP:
        return MLP(self, dims)

    def width(self, dims: LayerDims) -> int:
        return self.hidden_dim or 4 * dims.embed_dim


class MLP(nn.Module):
    """activation(x W1) W2."""

    def __init__(self, settings: MLPSettings, dims: LayerDims) -> None:
        super().__init__()
        hidden_dim = settings.width(dims)
        self.input = dims.linear.build(dims.embed_dim, hidden_dim, settings.bias, "feedforward.input")
        self.output = dims.linear.build(hidden_dim, dims.embed_dim, settings.bias, "feedforward.output")
        self.activation = ACTIVATIONS[settings.activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.activation(self.input(x)))
