"""The kinds of linear layer.

Contract: `settings.build(in_dim, out_dim, bias, name)` returns a `LinearLayer`, which maps (..., in_dim) to
(..., out_dim) in the dtype of its input. `name` says where in the model it stands, such as `attention.query`,
`feedforward.output` or `head`, so that a kind can treat some otherwise than others.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.model.kernels.block_formats import Groups

DrawWeight = Callable[[str, Tensor], None]
"""Fills the tensor of a parameter, such as `weight` or `bias`, with the initial values of a dense layer."""
Put = Callable[[Tensor, Tensor], object]
"""Gives a parameter its values, of which a sharded one keeps its part."""


class LinearLayer(nn.Module):
    """A linear layer of any kind."""

    @abstractmethod
    def matrix(self) -> Tensor:
        """The matrix (out, in) that it multiplies with."""

    def groups(self) -> Groups | None:
        """Its matrix as integers with a scale for each group of a row; None if it is kept in floating point."""
        return None

    def tie(self, weight: Tensor) -> None:
        """Multiplies with `weight` from now on: only for the head, whose rows may be the embedding's."""
        raise NotImplementedError

    def load_dense_weight(self, weight: Tensor) -> None:
        """Multiplies with the values of `weight` (out, in) from now on, or with the nearest that it can hold."""
        raise NotImplementedError

    def initialize(self, draw: DrawWeight) -> None:
        """Draws its initial weights, in place."""
        for name, parameter in self.named_parameters(recurse=False):
            draw(name, parameter)

    def forward_fused(self, x: Tensor, others: Sequence[LinearLayer]) -> list[Tensor]:
        """Its product with x and those of others of its kind: one after the other, unless a kind knows better."""
        return [layer(x) for layer in (self, *others)]


@runtime_checkable
class DrawsItself(Protocol):
    """A module that knows what of its parameters stands for the weight of a dense one."""

    def initialize(self, draw: DrawWeight) -> None:
        """Draws its initial weights, in place."""


@runtime_checkable
class Packed(Protocol):
    """A module whose `weight` is bytes that stand for more or fewer weights."""

    @property
    def num_weights(self) -> int:
        """The number of weights that the bytes stand for."""


def fused_projections(x: Tensor, *layers: LinearLayer) -> list[Tensor]:
    """The outputs of several layers for one input, as one product where their kind can do so."""
    if all(type(layer) is type(layers[0]) for layer in layers):
        return layers[0].forward_fused(x, layers[1:])
    return [layer(x) for layer in layers]


def linear_layers(model: nn.Module) -> dict[str, LinearLayer]:
    """A model's linear layers by their place, such as `blocks.0.attention.query`; one that is part of another is not
    named."""
    layers = {place: module for place, module in model.named_modules() if isinstance(module, LinearLayer)}
    return {place: module for place, module in layers.items() if place.rpartition(".")[0] not in layers}


def layer_name(place: str) -> str:
    """`attention.query` for `blocks.0.attention.query`; all experts' layers have one name."""
    return re.sub(r"^feedforward\.experts\.\d+\.", "feedforward.", re.sub(r"^blocks\.\d+\.", "", place))


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """The number of weights in each of a model's parameters, by name; bytes that stand for weights count as those."""
    packed = {
        f"{place}.weight": module.num_weights for place, module in model.named_modules() if isinstance(module, Packed)
    }
    return {name: packed.get(name, parameter.numel()) for name, parameter in model.named_parameters()}


class LinearSettings(Settings):
    """Settings of every kind of linear layer."""

    has_adapters: ClassVar[bool] = False
    """Whether a small change of frozen layers is trained, which can be merged into them."""

    is_storage: ClassVar[bool] = False
    """Whether weights are kept in the form that a file has them in, which dense ones may take the place of at any time:
    to be trained, or for another dtype."""

    kind: str

    @property
    def formats_in_words(self) -> str:
        """What its matrices are kept in, for people."""
        return self.kind

    def is_fast_on(self, device: torch.device) -> bool:
        """Whether decoding on a device is no slower than with dense weights of float32."""
        return True

    @abstractmethod
    def build(self, in_dim: int, out_dim: int, bias: bool, name: str) -> LinearLayer:
        """A layer of this kind."""

    def complete(self, model: nn.Module) -> None:
        """Finishes a model once all its layers are built. Most kinds leave nothing to do."""

    def initialize_extras(self, model: nn.Module, seed: int, put: Put) -> None:
        """Draws, in place, the parameters that this kind adds to those of a dense model. Most kinds add none."""

    def quantize_head(self, model: nn.Module) -> None:
        """Quantizes the head of a model, in place, where decoding would read most of its bytes there. Most kinds
        leave it as it is."""

    def prepare_for_decoding(self, model: nn.Module) -> None:
        """Makes a model faster where no gradient is needed, in place. Most kinds are as fast as they can be."""


KINDS = Kinds(__name__, LinearSettings, default="dense")
AnyLinear = Annotated[LinearSettings, KINDS]
