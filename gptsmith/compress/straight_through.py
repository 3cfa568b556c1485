"""Quantization-aware training of weights that are stored in blocks: kept in float32 and rounded in the forward pass.
The backward pass takes the rounding for the identity (the straight-through estimator, Bengio et al. 2013)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptsmith.base.errors import UserError
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.block_formats import BlockFormat, Groups
from gptsmith.model.kernels.block_rounding import GRIDS, pack_groups
from gptsmith.model.kernels.dense_matmul import dense_linear
from gptsmith.model.kernels.dropout import Dropout
from gptsmith.model.linear import LinearLayer
from gptsmith.model.linear.dense import DenseEmbedding, DenseLinear
from gptsmith.model.linear.grouped import Grouped
from gptsmith.model.transform import dequantize


class FakeQuantizer:
    """The rounding of a matrix in blocks while its scales and offsets stay what they are.

    Attributes:
        scale, offset: (out, groups).
    """

    def __init__(self, packed: Tensor, form: BlockFormat) -> None:
        groups = form.groups(packed)
        self.scale, self.offset = groups.scale, groups.offset
        self.form, self.grid = form, GRIDS[form.name]

    def nearest_integers(self, weight: Tensor, rows: Tensor | None = None) -> Tensor:
        """The nearest integers (..., groups, group_size) of weights (..., in): of all rows, or of some of them."""
        scale, offset = self._of(rows)
        groups = weight.view(*weight.shape[:-1], -1, self.form.group_size)
        return self.grid.nearest_integers(groups, scale[..., None], offset[..., None])

    def quantize(self, weight: Tensor, rows: Tensor | None = None) -> Tensor:
        """The nearest of its numbers to weights (..., in), with a gradient as if they were the weights themselves."""
        scale, offset = self._of(rows)
        with torch.no_grad():
            rounded = self.nearest_integers(weight, rows).mul_(scale[..., None]).add_(offset[..., None]).flatten(-2)
        straight: Tensor = _StraightThrough.apply(weight, rounded)  # type: ignore[no-untyped-call]
        return straight

    def pack(self, weight: Tensor) -> Tensor:
        """The rows (out, row_bytes) of the nearest of its numbers to weights (out, in)."""
        integers = self.nearest_integers(weight).to(torch.uint8)
        return pack_groups(Groups(integers, self.scale, self.offset), self.form)

    def before(self, weight: Tensor, unrounded: Tensor) -> Tensor:
        """The numbers (out, in) of `unrounded` where they are rounded to those of `weight`, else those of `weight`: a
        number beside the edge would be rounded back by the first step."""
        is_nearest = (self.nearest_integers(unrounded) == self.nearest_integers(weight)).flatten(-2)
        return torch.where(is_nearest, unrounded, weight)

    def _of(self, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        return (self.scale, self.offset) if rows is None else (self.scale[rows], self.offset[rows])


class _StraightThrough(torch.autograd.Function):
    """Another value with the same gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rounded: Tensor) -> Tensor:
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class FakeQuantizedLinear(LinearLayer):
    """A linear layer whose matrix is rounded whenever it is used."""

    def __init__(self, dense: DenseLinear, quantizer: FakeQuantizer) -> None:
        super().__init__()
        self.weight, self.bias, self.quantizer = dense.weight, dense.bias, quantizer

    def forward(self, x: Tensor) -> Tensor:
        return dense_linear(x, self.matrix(), self.bias)

    def matrix(self) -> Tensor:
        return self.quantizer.quantize(self.weight)


class FakeQuantizedEmbedding(nn.Module):
    """Vectors that are rounded when they are looked up."""

    def __init__(self, dense: DenseEmbedding, quantizer: FakeQuantizer) -> None:
        super().__init__()
        self.weight, self.sparse, self.quantizer = dense.weight, dense.sparse, quantizer

    def forward(self, ids: Tensor) -> Tensor:
        return self.quantizer.quantize(functional.embedding(ids, self.weight, sparse=self.sparse), ids)

    def matrix(self) -> Tensor:
        """The vectors (num_embeddings, dim)."""
        return self.quantizer.quantize(self.weight)


def require_trainable(config: GPTConfig) -> None:
    """
    Raises:
        UserError: weights that are stored so cannot be trained: they are neither dense nor in blocks.
    """
    kind = config.linear.kind
    if kind not in ("dense", "grouped"):
        raise UserError(f"weights of the kind {kind} cannot be healed: choose a format of blocks, such as --to q8_0")


@torch.no_grad()
def trainable(model: GPT, unrounded: GPT) -> GPT:
    """A model whose weights can be trained and that computes what `model` computes: of matrices in blocks the integers
    change, and scales and offsets stay.

    Args:
        unrounded: the dense model that was rounded to `model`: a weight that was nearly rounded to another number is
            soon trained to be.

    Raises:
        UserError: its weights are neither dense nor in blocks.
    """
    require_trainable(model.config)
    made = deepcopy(model) if model.config.linear.kind == "dense" else dequantize(model)
    for module in made.modules():
        if isinstance(module, Dropout):
            module.fraction = 0.0
    for place, layer in list(model.named_modules()):
        if isinstance(layer, Grouped):
            dense, quantizer = made.get_submodule(place), FakeQuantizer(layer.weight, layer.form)
            weight = dense.get_parameter("weight")
            weight.copy_(quantizer.before(weight, unrounded.get_parameter(f"{place}.weight")))
            if isinstance(dense, DenseEmbedding):
                made.set_submodule(place, FakeQuantizedEmbedding(dense, quantizer))
            elif isinstance(dense, DenseLinear):
                made.set_submodule(place, FakeQuantizedLinear(dense, quantizer))
    return made


def is_fake_quantized(trained: GPT) -> bool:
    """Whether weights of a `trainable` model are rounded whenever they are used."""
    return any(isinstance(module, FakeQuantizedLinear | FakeQuantizedEmbedding) for module in trained.modules())


@torch.no_grad()
def stored(trained: GPT, model: GPT) -> GPT:
    """A copy of `model` with the weights that `trainable(model)` has after its training, rounded for good."""
    made = deepcopy(model)
    parameters = dict(trained.named_parameters())
    for place, layer in made.named_modules():
        if isinstance(layer, Grouped) and not layer.is_tied:
            weight = parameters.pop(f"{place}.weight")
            layer.weight.copy_(FakeQuantizer(layer.weight, layer.form).pack(weight))
    own = dict(made.named_parameters())
    for name, value in parameters.items():
        own[name].copy_(value)
    return made
