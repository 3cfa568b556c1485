"""A model's weights under the names of other programs, by a family's table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gptsmith.convert.families import Family, Transform, Weight
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT, computing_in_float32, empty_model, in_memory, meta_model
from gptsmith.model.linear import linear_layers
from gptsmith.model.linear.dense import DenseLinearSettings


@dataclass(frozen=True)
class TensorMapping:
    """One tensor of another program's, and our parameters that are in it.

    Attributes:
        theirs: its name in a safetensors file.
        gguf: its name in a GGUF file.
        shape: its shape in a safetensors file; that of one expert's part where it holds those of all.
        ours: the names of our parameters, one below the other.
        rows: how many rows each has.
        transposed: whether it is (in, out) there.
        transform: the difference of its values there; None if they are ours.
        expert: the number of the expert whose part of the tensor it is, where one holds those of all; else None.
        num_experts: how many parts it has then.
        is_stacked: whether it is an expert's, and a GGUF file has one tensor for all experts'.
    """

    theirs: str
    gguf: str
    shape: tuple[int, ...]
    ours: tuple[str, ...]
    rows: tuple[int, ...]
    transposed: bool
    transform: Transform | None = None
    expert: int | None = None
    num_experts: int | None = None
    is_stacked: bool = False

    @property
    def whole_shape(self) -> tuple[int, ...]:
        """The shape of the tensor in a safetensors file, with the parts of all experts."""
        return self.shape if self.num_experts is None else (self.num_experts, *self.shape)

    def split(self, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Our parameters from the tensor of a safetensors file, or an expert's part of it."""
        whole = tensor.T if self.transposed else tensor
        yield from self.split_rows(whole if self.transform is None else self.transform.to_ours(whole))

    def split_rows(self, whole: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Our parameters from one below the other, as they are: (out, in) of a matrix, as a GGUF file keeps them."""
        yield from zip(self.ours, torch.split(whole, list(self.rows)), strict=True)

    @property
    def rows_shape(self) -> tuple[int, ...]:
        """Its shape as (out, in), in a GGUF file."""
        return self.shape[::-1] if self.transposed else self.shape

    def join(self, ours: Mapping[str, Tensor]) -> Tensor:
        """The tensor of a safetensors file, or an expert's part of it, from our parameters."""
        whole = self.join_rows(ours)
        whole = whole if self.transform is None else self.transform.to_theirs(whole)
        return whole.T.contiguous() if self.transposed else whole

    def join_rows(self, ours: Mapping[str, Tensor]) -> Tensor:
        """Our parameters one below the other, as they are: (out, in) of a matrix."""
        whole = torch.cat([ours[name] for name in self.ours]) if len(self.ours) > 1 else ours[self.ours[0]]
        return whole.contiguous()


def tensor_mappings(family: Family, config: GPTConfig) -> list[TensorMapping]:
    """Every tensor of a plain model of this shape, in the order of our parameters.

    Raises:
        KeyError: the family's table has no name for a parameter.
    """
    model = meta_model(config.model_copy(update={"linear": DenseLinearSettings()}))
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    rows = {part: weight for weight in family.weights for part in weight.parts}
    found: dict[str, TensorMapping] = {}
    for name in shapes:
        numbers, place, kind = _place(name)
        weight, suffix = (rows[key], "") if (key := f"{place}.{kind}") in rows else (rows[place], f".{kind}")
        transform = None if weight.transform is None else weight.transform(config)
        mapping = _mapping(weight, transform, numbers, suffix, shapes)
        found.setdefault(mapping.ours[0], mapping)
    return _with_counts(list(found.values()))


def their_tensors(family: Family, config: GPTConfig, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, from our parameters."""
    parts: dict[str, list[Tensor]] = {}
    stacked = set()
    for mapping in tensor_mappings(family, config):
        parts.setdefault(mapping.theirs, []).append(mapping.join(ours))
        if mapping.expert is not None:
            stacked.add(mapping.theirs)
    return {name: torch.stack(some) if name in stacked else some[0] for name, some in parts.items()}


def plain_weights(model: GPT) -> dict[str, Tensor]:
    """The parameters, by name, of the plain model that computes what `model` computes, whose linear layers may be
    quantized."""
    result = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for place, linear in linear_layers(model).items():
        result.pop(f"{place}.scale", None)
        if f"{place}.weight" in result and not result[f"{place}.weight"].is_floating_point():
            result[f"{place}.weight"] = linear.matrix().detach()
    result["embedding.weight"] = model.embedding.matrix().detach()
    return result


def model_of(config: GPTConfig, weights: Iterable[tuple[str, Tensor]]) -> GPT:
    """The model of a shape with these weights, in evaluation mode: bfloat16 stays, and float64 and float16 become
    float32. They become the parameters where they can, so that they are in memory once. Products are in float32."""
    model = empty_model(config)
    parameters = dict(model.named_parameters())
    for name, part in weights:
        # A view of a part would keep the whole tensor in memory.
        own = part.clone() if part.untyped_storage().nbytes() > part.nbytes else part
        parameters[name].data = in_memory(own).contiguous()
    return computing_in_float32(model).eval()


def _place(name: str) -> tuple[dict[str, str], str, str]:
    """`({"layer": "3"}, "blocks.{layer}.attention.query", "weight")` for `blocks.3.attention.query.weight`; an expert's
    number is another one."""
    place, _, kind = name.rpartition(".")
    numbers = {}
    for group, number in (("blocks", "layer"), ("experts", "expert")):
        if found := re.search(rf"\b{group}\.(\d+)\.", place):
            numbers[number] = found[1]
            place = place.replace(found[0], f"{group}.{{{number}}}.", 1)
    return numbers, place, kind


def _mapping(
    weight: Weight,
    transform: Transform | None,
    numbers: Mapping[str, str],
    suffix: str,
    shapes: Mapping[str, tuple[int, ...]],
) -> TensorMapping:
    ours = tuple(f"{part.format(**numbers)}{suffix}" for part in weight.parts)
    rows = tuple(shapes[name][0] for name in ours)
    shape = (sum(rows), *shapes[ours[0]][1:])
    transposed = weight.transposed and len(shape) == 2
    theirs, gguf = (f"{name.format(**numbers)}{suffix}" for name in (weight.theirs, weight.gguf))
    expert = int(numbers["expert"]) if "expert" in numbers and "{expert}" not in weight.theirs else None
    stored = shape[::-1] if transposed else shape
    is_stacked = "expert" in numbers and "{expert}" not in weight.gguf
    return TensorMapping(theirs, gguf, stored, ours, rows, transposed, transform, expert=expert, is_stacked=is_stacked)


def _with_counts(mappings: Sequence[TensorMapping]) -> list[TensorMapping]:
    """With the number of experts whose parts are in one tensor."""
    counts = Counter(mapping.theirs for mapping in mappings if mapping.expert is not None)
    return [replace(mapping, num_experts=counts.get(mapping.theirs)) for mapping in mappings]
