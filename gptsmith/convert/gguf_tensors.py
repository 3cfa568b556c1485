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

from gptsmith.base.bounded import open_regular
from gptsmith.base.errors import ConversionError, one_line
from gptsmith.convert.gguf_header import Header, read_header, shard_names
from gptsmith.convert.safetensors_files import require_finite

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

    def read(self) -> Tensor:
        """It, in memory of its own: in the file's dtype if it has one, else dequantized to float32."""
        data = np.empty(self.num_bytes, np.uint8)
        with open_regular(self.file) as opened:
            opened.seek(self.begin)
            if opened.readinto(memoryview(data.data)) != self.num_bytes:
                raise ConversionError(f"{self.file} was cut short while it was read")
        if self.kind.name in PLAIN:
            return torch.from_numpy(data).view(PLAIN[self.kind.name]).view(self.shape)
        with np.errstate(all="ignore"):  # scales that are not finite are found below
            numbers = gguf.dequantize(data.reshape(math.prod(self.shape[:-1]), -1), self.kind)
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
        return require_finite(stored.read(), name, stored.file)


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
