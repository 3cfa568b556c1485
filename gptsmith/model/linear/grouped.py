"""Matrices in GGUF's block formats: integers of 4, 5, 6 or 8 bits, with a scale for each 32 or 16 of a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.memory import give_back_freed_memory
from gptsmith.model.kernels.block_formats import FORMATS, BlockFormat, Groups
from gptsmith.model.kernels.block_rounding import quantize_blocks
from gptsmith.model.kernels.grouped_matmul import (
    GroupedMatmul,
    ShortlistMatmul,
    grouped_linear,
    processor_has_kernel,
)
from gptsmith.model.linear import DrawWeight, LinearLayer, LinearSettings, layer_name
from gptsmith.model.linear.dense import DenseEmbedding, DenseLinear
from gptsmith.model.packed_linear import Packable, pack_layers

FormatName = Literal["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k"]
BY_NAME_ONLY = ("head", "embedding", "feedforward.router")
"""Layers that no pattern matches: the router of experts, because rounding it would choose others."""


def grouped(forms: Mapping[str, str | None]) -> GroupedLinearSettings:
    """The settings of a model whose layers at these places are in these formats, or dense, said in few names."""
    by_name: dict[str, Counter[str | None]] = {}
    for place, form in forms.items():
        by_name.setdefault(layer_name(place), Counter())[form] += 1
    # A name would speak for dense layers too.
    usual = {name: None if None in counts else counts.most_common(1)[0][0] for name, counts in by_name.items()}
    others = {place: form for place, form in forms.items() if form != usual[layer_name(place)]}
    formats: dict[str, list[str]] = {}
    for name, form in [*usual.items(), *others.items()]:
        if form is not None:
            formats.setdefault(form, []).append(name)
    return GroupedLinearSettings.parse({"formats": formats})


class GroupedLinearSettings(LinearSettings):
    """y = x W' + b, W in blocks of a format of GGUF's. The embedding can be in blocks too; a tied head then is."""

    is_storage: ClassVar[bool] = True

    kind: Literal["grouped"] = "grouped"
    formats: dict[FormatName, list[str]] = Field(
        default={"q8_0": ["attention.*", "feedforward.*", "embedding", "head"]}
    )
    """The layers in each format: names, such as attention.query or blocks.3.attention.query, or patterns. The nearest
    name decides; the head, the embedding and a router match only by their own. Other layers are dense."""

    @property
    def formats_in_words(self) -> str:
        return ", ".join(sorted(self.formats))

    def is_fast_on(self, device: torch.device) -> bool:
        return device.type == "cpu" and processor_has_kernel()

    def build(self, in_dim: int, out_dim: int, bias: bool, name: str) -> LinearLayer:
        return DenseLinear(in_dim, out_dim, bias=bias)  # which `complete` replaces, where it knows the layer's number

    def format_of(self, place: str) -> BlockFormat | None:
        """The format of the layer at a place, such as `blocks.0.attention.query`; None if it is dense."""
        name = layer_name(place)
        for wanted in (place, name):
            if found := [form for form, names in self.formats.items() if wanted in names]:
                return FORMATS[found[0]]
        if name in BY_NAME_ONLY:
            return None
        found = [form for form, names in self.formats.items() if any(fnmatchcase(name, each) for each in names)]
        return FORMATS[found[0]] if found else None

    def complete(self, model: nn.Module) -> None:
        """Puts layers in blocks in the place of dense ones.

        Raises:
            ConfigurationError: a name is of no layer, or a row is no whole blocks.
        """
        layers = {
            place: layer for place, layer in model.named_modules() if isinstance(layer, DenseLinear | DenseEmbedding)
        }
        self._require_known(layers)
        embedding = model.get_submodule("embedding")
        tied = [place for place, layer in layers.items() if layer.weight is embedding.weight]
        for place, layer in layers.items():
            form = self.format_of("embedding" if place in tied else _without_adapter(place))
            if form is None:
                continue
            if layer.weight.shape[1] % form.block_size:
                raise ConfigurationError(
                    f"linear.formats: {place} has rows of {layer.weight.shape[1]:,}, and {form.name} whole blocks of "
                    f"{form.block_size}"
                )
            made = _in_blocks(layer, form)
            if isinstance(made, GroupedLinear):
                made.is_head = _without_adapter(place) == "head"
            model.set_submodule(place, made)
        for place in tied:
            if isinstance(head := model.get_submodule(place), GroupedLinear):
                head.tie(model.get_parameter("embedding.weight"))

    def _require_known(self, layers: Mapping[str, nn.Module]) -> None:
        """
        Raises:
            ConfigurationError: a name is of none of these layers.
        """
        known = {name for place in layers for name in (_without_adapter(place), layer_name(_without_adapter(place)))}
        for name in (name for names in self.formats.values() for name in names):
            if not any(name == each or fnmatchcase(each, name) for each in known):
                raise ConfigurationError(
                    f"linear.formats: {name} is no layer of this model "
                    f"(allowed: {', '.join(sorted({layer_name(each) for each in known}))}, or patterns)"
                )

    def prepare_for_decoding(self, model: nn.Module) -> None:
        if next(model.parameters()).device.type != "cpu":
            return
        pack_layers(model, GroupedLinear)
        # The first pass packs all layers: better now than while somebody waits for a token.
        model(torch.zeros(1, 1, dtype=torch.long))
        give_back_freed_memory()


def _without_adapter(place: str) -> str:
    return place.removesuffix(".base")


class Grouped(nn.Module):
    """Rows of weights in blocks.

    Attributes:
        weight: (out, row_bytes), uint8. No gradient reaches it.
        form: the format of the blocks.
        is_tied: whether the weight is another module's.
    """

    def __init__(self, in_dim: int, out_dim: int, form: BlockFormat, device: torch.device) -> None:
        super().__init__()
        self.form, self.is_tied = form, False
        packed = torch.empty(out_dim, form.row_bytes(in_dim), dtype=torch.uint8, device=device)
        self.weight = nn.Parameter(packed, requires_grad=False)

    @property
    def num_weights(self) -> int:
        """The number of weights that the bytes stand for."""
        return self.form.num_weights(self.weight.numel())

    def matrix(self) -> Tensor:
        """The weights (out, in), float32."""
        return self.form.weights(self.weight)

    def load_dense_weight(self, weight: Tensor) -> None:
        """Takes the nearest that the blocks can hold."""
        self.weight.copy_(quantize_blocks(weight, self.form))

    def initialize(self, draw: DrawWeight) -> None:
        """Draws what a dense layer would have, in blocks."""
        for name, parameter in self.named_parameters(recurse=False):
            if name != "weight":
                draw(name, parameter)
            elif not self.is_tied:
                weight = torch.empty(len(parameter), self.form.num_weights(parameter.shape[1]))
                draw(name, weight)
                self.load_dense_weight(weight)


class GroupedEmbedding(Grouped):
    """Vectors in blocks: those that are looked up are dequantized."""

    def forward(self, ids: Tensor) -> Tensor:
        return self.form.weights(self.weight[ids])  # (..., in)


class GroupedLinear(Grouped, Packable):
    """A linear layer whose matrix is in blocks. Gradients reach its input, never the matrix.

    Attributes:
        is_head: whether its outputs are logits, the largest of which are never rounded.
    """

    def __init__(self, in_dim: int, out_dim: int, bias: bool, form: BlockFormat, device: torch.device) -> None:
        super().__init__(in_dim, out_dim, form, device)
        self.is_head = False
        self.bias = nn.Parameter(torch.empty(out_dim, device=device)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = grouped_linear(x, self.weight, self.form)
        return y if self.bias is None else y + self.bias.to(x.dtype)

    def groups(self) -> Groups:
        return self.form.groups(self.weight)

    def tie(self, weight: Tensor) -> None:
        assert isinstance(weight, nn.Parameter)
        self.weight, self.is_tied = weight, True

    def packs_with(self, other: LinearLayer) -> bool:
        return isinstance(other, GroupedLinear) and other.form is self.form

    def pack(self, others: Sequence[LinearLayer]) -> GroupedMatmul:
        layers = [self, *(layer for layer in others if isinstance(layer, GroupedLinear))]
        biases = [torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias for layer in layers]
        has_bias = any(layer.bias is not None for layer in layers)
        product = ShortlistMatmul if self.is_head else GroupedMatmul
        return product([layer.weight for layer in layers], self.form, torch.cat(biases) if has_bias else None)

    def num_outputs(self) -> int:
        return len(self.weight)


def packed_weights(model: nn.Module) -> dict[str, Grouped]:
    """The modules whose weights are in blocks, by the names of these weights; a tied head is the embedding."""
    found = {f"{place}.weight": module for place, module in model.named_modules() if isinstance(module, Grouped)}
    return {name: module for name, module in found.items() if not module.is_tied}


def _in_blocks(layer: DenseLinear | DenseEmbedding, form: BlockFormat) -> Grouped:
    """A layer of the shape of a dense one."""
    (out_dim, in_dim), device = layer.weight.shape, layer.weight.device
    if isinstance(layer, DenseEmbedding):
        return GroupedEmbedding(in_dim, out_dim, form, device)
    return GroupedLinear(in_dim, out_dim, layer.bias is not None, form, device)
