"""Linear layers whose matrix is packed for one processor's kernel when they are first called: for inference only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

from torch import Tensor, nn

from gptsmith.model.linear import LinearLayer


class Product(Protocol):
    """A packed matrix, with its bias."""

    def __call__(self, x: Tensor) -> Tensor:
        """Its products (..., out) with inputs (..., in)."""

    def matrix(self) -> Tensor:
        """The matrix (out, in)."""


class Packable(LinearLayer):
    """A kind of linear layer that can be packed."""

    def packs_with(self, other: LinearLayer) -> bool:
        """Whether both can become one product."""
        return type(other) is type(self)

    def pack(self, others: Sequence[LinearLayer]) -> Product:
        """The product of this layer and others that it packs with, their outputs one after the other."""
        raise NotImplementedError

    def num_outputs(self) -> int:
        """The rows of its matrix."""
        raise NotImplementedError


class PackedLinear(LinearLayer):
    """A packed layer. Layers that are given one input are fused into one product when they are first called."""

    def __init__(self, layer: Packable) -> None:
        super().__init__()
        self._layers = [layer]  # in a list, or it would be a part of the model
        self._product: Product | None = None
        self._columns = slice(None)

    def forward(self, x: Tensor) -> Tensor:
        if self._product is None:
            _fuse([self])
        assert self._product is not None
        return self._product(x)[..., self._columns]

    def forward_fused(self, x: Tensor, others: Sequence[LinearLayer]) -> list[Tensor]:
        layers = [layer for layer in (self, *others) if isinstance(layer, PackedLinear)]
        if len(layers) == 1 + len(others) and all(
            layer._product is None and self._layers[0].packs_with(layer._layers[0]) for layer in layers
        ):
            _fuse(layers)
        if self._product is None or any(layer._product is not self._product for layer in layers):
            return super().forward_fused(x, others)
        y = self._product(x)
        return [y[..., layer._columns] for layer in layers]

    def matrix(self) -> Tensor:
        if self._product is None:
            return self._layers[0].matrix()
        return self._product.matrix()[self._columns]


def _fuse(packed: Sequence[PackedLinear]) -> None:
    """Packs the matrices of layers that read one input into one product, in place of their own."""
    layers = [layer for one in packed for layer in one._layers]
    product = layers[0].pack(layers[1:])
    ends = list(accumulate(layer.num_outputs() for layer in layers))
    for one, start, end in zip(packed, [0, *ends], ends, strict=False):
        one._product, one._columns, one._layers = product, slice(start, end), []


def pack_layers(model: nn.Module, kind: type[Packable]) -> None:
    """Puts a packed layer in the place of each layer of a kind, in place."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, kind):
                setattr(parent, name, PackedLinear(layer))
