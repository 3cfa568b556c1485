"""Two maps with an activation between them (Vaswani et al. 2017, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from gptsmith.model.config import GPTConfig
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
    """activation(x W1) W2, four times as wide between the maps."""

    kind: Literal["mlp"] = "mlp"
    activation: Literal["gelu", "gelu_tanh", "relu", "relu2"] = "gelu_tanh"

    def build(self, config: GPTConfig) -> MLP:
        return MLP(self, config)

    def width(self, config: GPTConfig) -> int:
        return self.hidden_dim or 4 * config.embed_dim


class MLP(nn.Module):
    """activation(x W1) W2."""

    def __init__(self, settings: MLPSettings, config: GPTConfig) -> None:
        super().__init__()
        hidden_dim = settings.width(config)
        self.input = config.linear.build(config.embed_dim, hidden_dim, settings.bias, "feedforward.input")
        self.output = config.linear.build(hidden_dim, config.embed_dim, settings.bias, "feedforward.output")
        self.activation = ACTIVATIONS[settings.activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.activation(self.input(x)))
