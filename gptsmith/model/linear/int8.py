"""An int8 matrix with one scale a row: a quarter of float32's bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gptsmith.model.kernels.block_formats import FORMATS, Groups
from gptsmith.model.kernels.int8_matmul import Int8Matmul
from gptsmith.model.kernels.int8_weights import int8_linear, quantize_per_row
from gptsmith.model.linear import DrawWeight, LinearLayer, LinearSettings
from gptsmith.model.linear.dense import DenseLinear
from gptsmith.model.linear.grouped import GroupedLinear
from gptsmith.model.packed_linear import Packable, PackedLinear, pack_layers

KEPT_DENSE = ("head", "feedforward.router")


class Int8LinearSettings(LinearSettings):
    """y = (x W') s + b, W int8 and s a scale a row. The head stays dense, because it may be the embedding,
    and so does the router of experts: rounding it would choose others."""

    kind: Literal["int8"] = "int8"

    def build(self, in_dim: int, out_dim: int, bias: bool, name: str) -> LinearLayer:
        return DenseLinear(in_dim, out_dim, bias=bias) if name in KEPT_DENSE else Int8Linear(in_dim, out_dim, bias)

    def quantize_head(self, model: nn.Module) -> None:
        head, form = model.get_submodule("head"), FORMATS["q8_0"]  # finer than a scale a row, in which logits lose more
        assert isinstance(head, DenseLinear), "the head of an int8 model is dense"
        out_dim, in_dim = head.weight.shape
        if in_dim % form.block_size == 0:
            in_blocks = GroupedLinear(in_dim, out_dim, False, form, head.weight.device)
            in_blocks.load_dense_weight(head.weight.detach())
            model.add_module("head", in_blocks)

    def prepare_for_decoding(self, model: nn.Module) -> None:
        if next(model.parameters()).device.type == "cpu":
            use_int8_matmul(model)


class Int8Linear(Packable):
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

    def groups(self) -> Groups:
        scale = self.scale[:, None]
        return Groups((self.weight.short() + 128).to(torch.uint8)[:, None], scale, -128 * scale)

    def load_dense_weight(self, weight: Tensor) -> None:
        values, scale = quantize_per_row(weight)
        self.weight.copy_(values)
        self.scale.copy_(scale)

    def pack(self, others: Sequence[LinearLayer]) -> Int8Matmul:
        layers = [self, *(layer for layer in others if isinstance(layer, Int8Linear))]
        biases = [torch.zeros_like(layer.scale) if layer.bias is None else layer.bias for layer in layers]
        return Int8Matmul(
            torch.cat([layer.weight for layer in layers]),
            torch.cat([layer.scale for layer in layers]),
            torch.cat(biases) if any(layer.bias is not None for layer in layers) else None,
        )

    def num_outputs(self) -> int:
        return len(self.weight)

    def initialize(self, draw: DrawWeight) -> None:
        """Draws what a dense layer would have, quantized."""
        weight = torch.empty(self.weight.shape)
        draw("weight", weight)
        self.load_dense_weight(weight)
        if self.bias is not None:
            draw("bias", self.bias)


@torch.no_grad()
def use_int8_matmul(model: nn.Module) -> None:
    """Makes an int8 model on a processor compute faster, in place: its layers quantize their inputs too, and so does
    the head, which is quantized as well. For inference only: no gradient passes."""
    head = model.get_submodule("head")
    if isinstance(head, PackedLinear):
        return
    assert isinstance(head, DenseLinear), "the head of an int8 model is dense"
    out_dim, in_dim = head.weight.shape
    quantized = Int8Linear(in_dim, out_dim, bias=False)
    quantized.load_dense_weight(head.weight.float())
    model.add_module("head", quantized)
    pack_layers(model, Int8Linear)
    # The first pass fuses and packs all layers: better now than while somebody waits for a token.
    model(torch.zeros(1, 1, dtype=torch.long))
