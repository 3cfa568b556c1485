"""The tensors of a GGUF file, and our parameters in them: some rows in another order, and all experts in one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gptsmith.convert.families import Family, GGUFArchitecture
from gptsmith.convert.state_dict import TensorMapping, tensor_mappings
from gptsmith.model.config import GPTConfig


@dataclass(frozen=True)
class GGUFTensor:
    """One tensor of a GGUF file.

    Attributes:
        mappings: the tensors of a safetensors file that it holds: one, or those of all experts in their order.
        is_stack: whether it is (E, out, in), of all experts.
        interleaved_heads: the heads whose rows are neighbours where they rotate together; None where rows are ours.
    """

    mappings: tuple[TensorMapping, ...]
    is_stack: bool
    interleaved_heads: int | None

    @property
    def name(self) -> str:
        return self.mappings[0].gguf

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions, the slowest first."""
        rows = self.mappings[0].rows_shape
        return (len(self.mappings), *rows) if self.is_stack else rows

    def join(self, ours: Mapping[str, Tensor]) -> Tensor:
        """The tensor, from our parameters."""
        parts = [self._interleaved(mapping.join_rows(ours)) for mapping in self.mappings]
        return torch.stack(parts) if self.is_stack else parts[0]

    def split(self, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Our parameters, from the tensor."""
        parts = tensor.unbind() if self.is_stack else (tensor,)
        for mapping, part in zip(self.mappings, parts, strict=True):
            yield from mapping.split_rows(self._halves(part))

    def _interleaved(self, rows: Tensor) -> Tensor:
        """With the two rows of a head that rotate together as neighbours, from half a head apart."""
        if self.interleaved_heads is None:
            return rows
        return rows.view(self.interleaved_heads, 2, -1, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)

    def _halves(self, rows: Tensor) -> Tensor:
        """With the two rows of a head that rotate together half a head apart, from neighbours."""
        if self.interleaved_heads is None:
            return rows
        return rows.view(self.interleaved_heads, -1, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def architecture_of(family: Family) -> GGUFArchitecture:
    """llama.cpp's code for a family that it knows."""
    assert family.gguf is not None, f"{family.model_type} is not among the families that llama.cpp knows"
    return family.gguf


def gguf_tensors(family: Family, shape: GPTConfig) -> list[GGUFTensor]:
    """Every tensor of a file of this shape, in the order of our parameters."""
    groups: dict[str, list[TensorMapping]] = {}
    weights = architecture_of(family).weights or family.weights
    for mapping in tensor_mappings(replace(family, weights=weights), shape):
        groups.setdefault(mapping.gguf, []).append(mapping)
    heads = {"attn_q": shape.num_heads, "attn_k": shape.num_kv_heads}
    is_interleaved = architecture_of(family).is_interleaved
    return [
        GGUFTensor(tuple(group), group[0].is_stacked, heads.get(name.split(".")[-2]) if is_interleaved else None)
        for name, group in groups.items()
    ]
