"""A model's weights under the names of other programs, by a family's table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptsmith.convert.families import Family, Weight
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT, empty_model
from gptsmith.model.linear import maps_of
from gptsmith.model.linear.dense import DenseLinearSettings


@dataclass(frozen=True)
class Entry:
    """One tensor of another program's, and our parameters that are in it.

    Attributes:
        theirs: its name in a safetensors file.
        gguf: its name in a GGUF file.
        shape: its shape in a safetensors file.
        ours: the names of our parameters, one below the other.
        rows: how many rows each has.
        is_turned: whether it is (in, out) there.
    """

    theirs: str
    gguf: str
    shape: tuple[int, ...]
    ours: tuple[str, ...]
    rows: tuple[int, ...]
    is_turned: bool

    def split(self, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Our parameters from their tensor."""
        whole = tensor.T if self.is_turned else tensor
        yield from zip(self.ours, torch.split(whole, list(self.rows)), strict=True)

    def join(self, ours: Mapping[str, Tensor], *, turned: bool = True) -> Tensor:
        """Their tensor from our parameters; (out, in) whatever they keep where `turned` is false."""
        whole = torch.cat([ours[name] for name in self.ours]) if len(self.ours) > 1 else ours[self.ours[0]]
        return whole.T.contiguous() if self.is_turned and turned else whole.contiguous()


def entries(family: Family, config: GPTConfig) -> list[Entry]:
    """Every tensor of a plain model of this shape, in the order of our parameters.

    Raises:
        KeyError: the family's table has no name for a parameter.
    """
    with torch.device("meta"):
        model = GPT(config.model_copy(update={"linear": DenseLinearSettings()}))
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    rows = {part: weight for weight in family.weights for part in weight.parts}
    found: dict[str, Entry] = {}
    for name in shapes:
        layer, place, kind = _place(name)
        weight = rows[place]
        entry = _entry(weight, layer, kind, shapes)
        found.setdefault(entry.theirs, entry)
    return list(found.values())


def plain_weights(model: GPT) -> dict[str, Tensor]:
    """The parameters of the plain model that computes what `model` computes, whose maps may be rounded, by name."""
    result = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for place, linear in maps_of(model).items():
        if f"{place}.scale" in result:
            del result[f"{place}.scale"]
            result[f"{place}.weight"] = linear.matrix().detach()
    return result


def model_of(config: GPTConfig, tensors: Callable[[str], Tensor], table: Sequence[Entry]) -> GPT:
    """The model of a shape whose weights another program wrote, float32, in evaluation mode. What `tensors` gives
    becomes the parameters where it can, so that the weights are in memory once."""
    model = empty_model(config)
    parameters = dict(model.named_parameters())
    for entry in table:
        for name, part in entry.split(tensors(entry.theirs)):
            # A view of a part would keep the whole tensor in memory.
            own = part.clone() if len(entry.ours) > 1 else part
            parameters[name].data = own.float().contiguous()
    return model.eval()


def _place(name: str) -> tuple[str, str, str]:
    """`("3", "blocks.{layer}.attention.query", "weight")` for `blocks.3.attention.query.weight`."""
    place, _, kind = name.rpartition(".")
    block = re.match(r"blocks\.(\d+)\.", place)
    return (block[1], re.sub(r"^blocks\.\d+", "blocks.{layer}", place), kind) if block else ("", place, kind)


def _entry(weight: Weight, layer: str, kind: str, shapes: Mapping[str, tuple[int, ...]]) -> Entry:
    ours = tuple(f"{part.format(layer=layer)}.{kind}" for part in weight.parts)
    rows = tuple(shapes[name][0] for name in ours)
    shape = (sum(rows), *shapes[ours[0]][1:])
    is_turned = weight.is_turned and len(shape) == 2
    theirs, gguf = (f"{name.format(layer=layer)}.{kind}" for name in (weight.theirs, weight.gguf))
    return Entry(theirs, gguf, shape[::-1] if is_turned else shape, ours, rows, is_turned)
