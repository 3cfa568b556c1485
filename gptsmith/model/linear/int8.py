"""An int8 matrix with one scale a row: a quarter of float32's bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn

from gptsmith.model.kernels.int8_matmul import Int8Matmul
from gptsmith.model.kernels.int8_weights import int8_linear, quantize_per_row
from gptsmith.model.linear import DrawWeight, LinearLayer, LinearSettings
from gptsmith.model.linear.dense import DenseLinear

KEPT_DENSE = ("head", "feedforward.router")


class Int8LinearSettings(LinearSettings):
    """y = (x W') s + b, W int8 and s a scale a row. The head stays dense, because it may be the embedding,
    and so does the router of experts: rounding it would choose others."""

    kind: Literal["int8"] = "int8"

    def build(self, in_dim: int, out_dim: int, bias: bool, name: str) -> LinearLayer:
        return DenseLinear(in_dim, out_dim, bias=bias) if name in KEPT_DENSE else Int8Linear(in_dim, out_dim, bias)

    def prepare_for_decoding(self, model: nn.Module) -> None:
        if next(model.parameters()).device.type == "cpu":
            use_int8_matmul(model)


class Int8Linear(LinearLayer):
    """A linear layer whose matrix is quantized row by row. Gradients reach its input, never the matrix.

    Attributes:
        weight: (out, in), int8.
        scale: (out), what a row's integers are multiplied by.
    """

    def __init__(self, in_dim: int, out_dim: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim, dtype=torch.int8), requires_grad=False)
        self.scale = nn.Parameter(torch.empty(out_dim), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_dim)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = int8_linear(x, self.weight, self.scale)
        return y if self.bias is None else y + self.bias.to(x.dtype)

    def matrix(self) -> Tensor:
        return self.weight.to(self.scale.dtype) * self.scale[:, None]

    def load_dense_weight(self, weight: Tensor) -> None:
        values, scale = quantize_per_row(weight)
        self.weight.copy_(values)
        self.scale.copy_(scale)

    def initialize(self, draw: DrawWeight) -> None:
        """Draws what a dense layer would have, quantized."""
        weight = torch.empty(self.weight.shape)
        draw("weight", weight)
        self.load_dense_weight(weight)
        if self.bias is not None:
            draw("bias", self.bias)


class DynamicInt8Linear(LinearLayer):
    """An int8 layer that quantizes its inputs too, each row by its own scale. Layers that are given one input are fused
    into one product when they are first called."""

    def __init__(self, layer: Int8Linear) -> None:
        super().__init__()
        self._layers = [layer]  # in a list, or it would be a part of the model
        self._product: Int8Matmul | None = None
        self._columns = slice(None)

    def forward(self, x: Tensor) -> Tensor:
        if self._product is None:
            _fuse([self])
        assert self._product is not None
        return self._product(x)[..., self._columns]

    def forward_fused(self, x: Tensor, others: Sequence[LinearLayer]) -> list[Tensor]:
        layers = [layer for layer in (self, *others) if isinstance(layer, DynamicInt8Linear)]
        if len(layers) == 1 + len(others) and all(layer._product is None for layer in layers):
            _fuse(layers)
        if self._product is None or any(layer._product is not self._product for layer in layers):
            return super().forward_fused(x, others)
        y = self._product(x)
        return [y[..., layer._columns] for layer in layers]

    def matrix(self) -> Tensor:
        if self._product is None:
            return self._layers[0].matrix()
        return self._product.kernel.matrix()[self._columns]


def _fuse(dynamic: Sequence[DynamicInt8Linear]) -> None:
    """Packs the matrices of layers that read one input into one product, in place of their own."""
    layers = [layer for one in dynamic for layer in one._layers]
    biases = [torch.zeros_like(layer.scale) if layer.bias is None else layer.bias for layer in layers]
    has_bias = any(layer.bias is not None for layer in layers)
    product = Int8Matmul(
        torch.cat([layer.weight for layer in layers]),
        torch.cat([layer.scale for layer in layers]),
        torch.cat(biases) if has_bias else None,
    )
    ends = list(accumulate(len(layer.weight) for layer in layers))
    for one, start, end in zip(dynamic, [0, *ends], ends, strict=False):
        one._product, one._columns, one._layers = product, slice(start, end), []


@torch.no_grad()
def use_int8_matmul(model: nn.Module) -> None:
    """Makes an int8 model on a processor compute faster, in place: its layers quantize their inputs too, and so does
    the head, which is quantized as well. For inference only: no gradient passes."""
    head = model.get_submodule("head")
    if isinstance(head, DynamicInt8Linear):
        return
    assert isinstance(head, DenseLinear), "the head of an int8 model is dense"
    out_dim, in_dim = head.weight.shape
    quantized = Int8Linear(in_dim, out_dim, bias=False)
    quantized.load_dense_weight(head.weight.float())
    model.add_module("head", quantized)
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Int8Linear):
                setattr(parent, name, DynamicInt8Linear(layer))
    # The first pass fuses and packs all layers: better now than while somebody waits for a token.
    model(torch.zeros(1, 1, dtype=torch.long))
