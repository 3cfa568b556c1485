"""Training of weights that are stored in blocks: kept in float32 and rounded in the forward pass; the backward pass
takes the rounding for the identity (Bengio et al. 2013)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptsmith.base.errors import UserError
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.block_formats import BlockFormat
from gptsmith.model.kernels.block_rounding import with_integers
from gptsmith.model.kernels.dense_matmul import dense_linear
from gptsmith.model.linear import LinearLayer
from gptsmith.model.linear.dense import DenseEmbedding, DenseLinear
from gptsmith.model.linear.grouped import Grouped
from gptsmith.model.transform import dequantize


class Grid:
    """The numbers that the weights of a matrix in blocks can have while its scales and offsets stay what they are.

    Attributes:
        scale, offset: (out, groups).
        group_size: weights of a group.
        most: the largest integer.
    """

    def __init__(self, packed: Tensor, form: BlockFormat) -> None:
        groups = form.groups(packed)
        self.scale, self.offset = groups.scale, groups.offset
        self.group_size, self.most = form.group_size, (1 << form.bits) - 1

    def integers(self, weight: Tensor, rows: Tensor | None = None) -> Tensor:
        """The nearest integers (..., groups, group_size) of weights (..., in): of all rows, or of some of them."""
        scale, offset = self._of(rows)
        grouped = weight.view(*weight.shape[:-1], -1, self.group_size)
        inverse = torch.where(scale == 0, 0.0, 1 / scale)
        return ((grouped - offset[..., None]) * inverse[..., None]).round_().clamp_(0, self.most)

    def round(self, weight: Tensor, rows: Tensor | None = None) -> Tensor:
        """The nearest of its numbers to weights (..., in), with a gradient as if they were the weights themselves."""
        scale, offset = self._of(rows)
        with torch.no_grad():
            rounded = self.integers(weight, rows).mul_(scale[..., None]).add_(offset[..., None]).flatten(-2)
        straight: Tensor = _StraightThrough.apply(weight, rounded)  # type: ignore[no-untyped-call]
        return straight

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


class RoundedLinear(LinearLayer):
    """A linear layer whose matrix is rounded whenever it is used."""

    def __init__(self, dense: DenseLinear, grid: Grid) -> None:
        super().__init__()
        self.weight, self.bias, self.grid = dense.weight, dense.bias, grid

    def forward(self, x: Tensor) -> Tensor:
        return dense_linear(x, self.matrix(), self.bias)

    def matrix(self) -> Tensor:
        return self.grid.round(self.weight)


class RoundedEmbedding(nn.Module):
    """Vectors that are rounded when they are looked up."""

    def __init__(self, dense: DenseEmbedding, grid: Grid) -> None:
        super().__init__()
        self.weight, self.sparse, self.grid = dense.weight, dense.sparse, grid

    def forward(self, ids: Tensor) -> Tensor:
        return self.grid.round(functional.embedding(ids, self.weight, sparse=self.sparse), ids)

    def matrix(self) -> Tensor:
        """The vectors (num_embeddings, dim)."""
        return self.grid.round(self.weight)


def trainable(model: GPT) -> GPT:
    """A model whose weights can be trained and that computes what `model` computes: of matrices in blocks the integers
    change, and scales and offsets stay.

    Raises:
        UserError: its weights are neither dense nor in blocks.
    """
    kind = model.config.linear.kind
    if kind not in ("dense", "grouped"):
        raise UserError(f"weights of the kind {kind} cannot be healed: choose a format of blocks, such as --to q8_0")
    made = deepcopy(model) if kind == "dense" else dequantize(model)
    for module in made.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for place, layer in list(model.named_modules()):
        if isinstance(layer, Grouped):
            dense, grid = made.get_submodule(place), Grid(layer.weight, layer.form)
            if isinstance(dense, DenseEmbedding):
                made.set_submodule(place, RoundedEmbedding(dense, grid))
            elif isinstance(dense, DenseLinear):
                made.set_submodule(place, RoundedLinear(dense, grid))
    return made


@torch.no_grad()
def stored(trained: GPT, model: GPT) -> GPT:
    """A copy of `model` with the weights that `trainable(model)` has after its training, rounded for good."""
    made = deepcopy(model)
    parameters = dict(trained.named_parameters())
    for place, layer in made.named_modules():
        if isinstance(layer, Grouped) and not layer.is_tied:
            integers = Grid(layer.weight, layer.form).integers(parameters.pop(f"{place}.weight"))
            layer.weight.copy_(with_integers(layer.weight, integers, layer.form))
    own = dict(made.named_parameters())
    for name, value in parameters.items():
        own[name].copy_(value)
    return made
