"""The tensors of a GGUF file, or of the several that a model is split into: each is read, and dequantized, when it is
asked for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

from gptsmith.base.errors import ConversionError, one_line
from gptsmith.convert.gguf_header import Header, read_header, shard_names
from gptsmith.convert.safetensors_files import map_file, require_finite
from gptsmith.model.kernels.block_formats import FORMATS, BlockFormat

PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The types that are no blocks of rounded weights, and their dtypes."""


def dtype_name(kind: str) -> str:
    """`bfloat16` of the type BF16; the name of a type of blocks itself."""
    return str(PLAIN[kind]).removeprefix("torch.") if kind in PLAIN else kind


@dataclass(frozen=True)
class StoredTensor:
    """The place of a tensor in a file.

    Attributes:
        begin: the place of its first byte in the file.
    """

    file: Path
    kind: Any
    shape: tuple[int, ...]
    begin: int

    @property
    def num_bytes(self) -> int:
        """Its size in the file."""
        block, block_bytes = gguf.GGML_QUANT_SIZES[self.kind]
        return math.prod(self.shape) // int(block) * int(block_bytes)

    @property
    def form(self) -> BlockFormat | None:
        """The format that its weights can stay in; None if they are no matrix in one."""
        return FORMATS.get(self.kind.name.lower()) if len(self.shape) > 1 else None

    def rows(self, mapped: np.memmap[Any, Any]) -> Tensor:
        """Its bytes (..., out, row_bytes), as part of its file that is mapped into memory: they are read when they are
        used, and writing to them leaves the file alone."""
        data = mapped[self.begin : self.begin + self.num_bytes]
        return torch.from_numpy(data).view(*self.shape[:-1], -1)

    def read(self, mapped: np.memmap[Any, Any]) -> Tensor:
        """It: part of the mapped file if that holds numbers, else dequantized to float32."""
        rows = self.rows(mapped)
        if self.kind.name in PLAIN:
            dtype = PLAIN[self.kind.name]
            # A file may begin its numbers anywhere; processors want them at multiples of their size.
            return (rows if rows.data_ptr() % dtype.itemsize == 0 else rows.clone()).view(dtype).view(self.shape)
        with np.errstate(all="ignore"):  # scales that are not finite are found below
            numbers = gguf.dequantize(rows.flatten(0, -2).numpy(), self.kind)
        return torch.from_numpy(numbers).view(self.shape)


class GGUFTensors:
    """The tensors of some files by name.

    Attributes:
        place: the file that was named.
        files: all the files.
        keys: the keys of the first of them.
        shapes: the shape of each tensor, (out, in) of a matrix.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ConversionError: a file is missing or not sound, or two hold a tensor of one name.
        """
        self.place = path
        self.files = _shards(path)
        stored: dict[str, StoredTensor] = {}
        for number, file in enumerate(self.files):
            header = read_header(file)
            if number == 0:
                self.keys: Mapping[str, Any] = header.keys
            for name, tensor in _placed(file, header).items():
                if name in stored:
                    raise ConversionError(f"{file}: {one_line(name, 80)} is there twice")
                stored[name] = tensor
        _require_count(path, self.keys, stored)
        self._stored = stored
        self._mapped: dict[Path, np.memmap[Any, Any]] = {}
        self.shapes = {name: tensor.shape for name, tensor in stored.items()}

    @property
    def num_parameters(self) -> Counter[str]:
        """The numbers in all tensors, by the name of their dtype or type."""
        counts: Counter[str] = Counter()
        for tensor in self._stored.values():
            counts[dtype_name(tensor.kind.name)] += math.prod(tensor.shape)
        return counts

    @property
    def kinds(self) -> set[str]:
        """The types of the matrices."""
        return {tensor.kind.name for tensor in self._stored.values() if len(tensor.shape) > 1}

    def read(self, name: str) -> Tensor:
        """A tensor.

        Raises:
            ConversionError: it holds a number that is not finite.
        """
        stored = self._stored[name]
        return require_finite(stored.read(self._mapping(stored)), name, stored.file)

    def form(self, name: str) -> BlockFormat | None:
        """The format that a tensor's weights can stay in; None if they are no matrix in one."""
        return self._stored[name].form

    def read_blocks(self, name: str) -> Tensor:
        """The rows (out, row_bytes), uint8, of a matrix in such a format, as they are in its file.

        Raises:
            ConversionError: a scale is not finite.
        """
        stored = self._stored[name]
        rows = stored.rows(self._mapping(stored))
        assert stored.form is not None
        require_finite(stored.form.scales(rows), name, stored.file)
        return rows

    def _mapping(self, stored: StoredTensor) -> np.memmap[Any, Any]:
        if stored.file not in self._mapped:
            self._mapped[stored.file] = map_file(stored.file)
        mapped = self._mapped[stored.file]
        if len(mapped) < stored.begin + stored.num_bytes:
            raise ConversionError(f"{stored.file} was cut short while it was read")
        return mapped


def _shards(path: Path) -> list[Path]:
    files = [path.with_name(name) for name in shard_names(path)]
    if missing := [file.name for file in files if not file.is_file()]:
        raise ConversionError(
            f"{path} is one of {len(files):,} files of a model, and {missing[0]} is not beside it: bring it there"
        )
    return files


def _require_count(path: Path, keys: Mapping[str, Any], stored: Mapping[str, StoredTensor]) -> None:
    """
    Raises:
        ConversionError: a split model does not have as many files or tensors as its first file says.
    """
    counts = {"split.count": len(shard_names(path)), "split.tensors.count": len(stored)}
    for key, count in counts.items():
        if key in keys and keys[key] not in (count, 0):
            raise ConversionError(f"{path}: {key}={one_line(keys[key], 40)}, and there are {count:,}")


def _placed(file: Path, header: Header) -> dict[str, StoredTensor]:
    """
    Raises:
        ConversionError: a tensor does not lie where its file's header says, or is of a type that is not known.
    """
    stored: dict[str, StoredTensor] = {}
    end = 0
    for tensor in sorted(header.tensors, key=lambda each: each.offset):
        name = one_line(tensor.name, 80)
        if tensor.name in stored:
            raise ConversionError(f"{file}: {name} is there twice")
        kind = kind_of(tensor.type_id, f"{file}: {name}")
        block = int(gguf.GGML_QUANT_SIZES[kind][0])
        if tensor.shape[-1] % block:
            raise ConversionError(f"{file}: {name} has rows of {tensor.shape[-1]:,}, and {kind.name} blocks of {block}")
        found = StoredTensor(file, kind, tensor.shape, header.data + tensor.offset)
        if tensor.offset != math.ceil(end / header.alignment) * header.alignment:
            raise ConversionError(f"{file}: {name} does not lie where the tensor before it ends: the file is damaged")
        end = tensor.offset + found.num_bytes
        stored[tensor.name] = found
    # Behind the last tensor a file may be filled up.
    least, most = (header.data + end, header.data + math.ceil(end / header.alignment) * header.alignment)
    if stored and header.num_bytes < least:
        raise ConversionError(
            f"{file} has {header.num_bytes:,} bytes and its header declares {least:,}: the file is cut short"
        )
    if header.num_bytes > max(most, header.data):
        raise ConversionError(
            f"{file} has {header.num_bytes:,} bytes and its header declares {most:,}: something else is behind its end"
        )
    return stored


def kind_of(number: int, place: str) -> Any:
    """The type of that number.

    Raises:
        ConversionError: it is not known, or cannot be dequantized.
    """
    known = known_kinds()
    if number not in known:
        try:
            name = gguf.GGMLQuantizationType(number).name
        except ValueError:
            name = f"of type {number}"
        raise ConversionError(
            f"{place} is {name}, which is not known (known: {', '.join(kind.name for kind in known.values())})"
        )
    return known[number]


@cache
def known_kinds() -> dict[int, Any]:
    """The types that can be read, by number."""
    found = {}
    for kind in gguf.GGMLQuantizationType:
        try:
            gguf.dequantize(np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
        except NotImplementedError:
            continue
        found[int(kind)] = kind
    return found
