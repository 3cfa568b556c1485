"""Safetensors files that somebody else wrote: their headers are checked before a byte of a weight is read."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from gptsmith.base.bounded import open_regular
from gptsmith.base.errors import ConversionError, one_line, shown
from gptsmith.base.files import read_json
from gptsmith.base.json_reader import parse_json
from gptsmith.convert.mxfp4 import BLOCKS, SCALES, packed_shape, unpacked
from gptsmith.run.stored_tensors import MAX_HEADER_BYTES

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The dtypes of weights."""
STORED_DTYPES = DTYPES | {"U8": torch.uint8}
"""The dtypes in files: bytes are parts of packed weights."""
SHOWN = 5
MAX_DIMENSIONS = 16
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth", "adapter_model.bin")


@dataclass(frozen=True)
class StoredTensor:
    """The place of a tensor in a file."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    """The place of its first byte in the file."""

    @property
    def kind(self) -> str:
        """The name of its dtype."""
        return str(self.dtype).removeprefix("torch.")

    def read(self, mapped: Callable[[Path], np.memmap[Any, Any]], part: int | None = None) -> Tensor:
        """It, or a part of it along its first dimension, as part of its file that is mapped into memory: its bytes are
        read when they are used, and writing to it leaves the file alone."""
        data = mapped(self.file)[self.begin : self.begin + math.prod(self.shape) * self.dtype.itemsize]
        # A file may begin its numbers anywhere; processors want them at multiples of their size.
        whole = data if data.ctypes.data % self.dtype.itemsize == 0 else data.copy()
        tensor = torch.from_numpy(whole).view(self.dtype).view(self.shape)
        return tensor if part is None else tensor[part]


@dataclass(frozen=True)
class PackedTensor:
    """Matrices in MXFP4: the places of their blocks and of the blocks' scales."""

    blocks: StoredTensor
    scales: StoredTensor
    shape: tuple[int, ...]
    kind: ClassVar[str] = "MXFP4"

    @property
    def file(self) -> Path:
        return self.blocks.file

    def read(self, mapped: Callable[[Path], np.memmap[Any, Any]], part: int | None = None) -> Tensor:
        """All of them (E, in, out), or one, in memory of its own."""
        if part is None:
            return torch.stack([self.read(mapped, number) for number in range(self.shape[0])])
        return unpacked(self.blocks.read(mapped, part), self.scales.read(mapped, part))


class TensorFiles:
    """The tensors of some files by name, each read when it is asked for.

    Attributes:
        files: the files.
        shapes: the shape of each tensor.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """
        Raises:
            ConversionError: a file is not a sound safetensors file, or two hold a tensor of one name.
        """
        self.files = list(files)
        self._mapped: dict[Path, np.memmap[Any, Any]] = {}
        stored: dict[str, StoredTensor] = {}
        for file in self.files:
            for name, tensor in read_header(file).items():
                if name in stored:
                    raise ConversionError(f"{file} and {stored[name].file.name} both hold {name}")
                stored[name] = tensor
        self._keep(_with_packed(stored))

    def _keep(self, stored: dict[str, StoredTensor | PackedTensor]) -> None:
        self._stored = stored
        self.shapes = {name: tensor.shape for name, tensor in stored.items()}

    @property
    def num_parameters(self) -> Counter[str]:
        """The numbers in all tensors, by the name of their dtype."""
        counts: Counter[str] = Counter()
        for tensor in self._stored.values():
            counts[tensor.kind] += math.prod(tensor.shape)
        return counts

    def rename(self, names: Mapping[str, str], *, drops_others: bool = False) -> None:
        """Gives tensors the names that `names` has for them; others keep theirs, or are dropped."""
        kept = {name: tensor for name, tensor in self._stored.items() if name in names or not drops_others}
        self._keep({names.get(name, name): tensor for name, tensor in kept.items()})

    def read(self, name: str, part: int | None = None) -> Tensor:
        """A tensor, or the part of that number along its first dimension.

        Raises:
            ConversionError: it holds a number that is not finite.
        """
        stored = self._stored[name]
        return require_finite(stored.read(self._map, part), name, stored.file)

    def _map(self, file: Path) -> np.memmap[Any, Any]:
        if file not in self._mapped:
            self._mapped[file] = map_file(file)
        return self._mapped[file]


def _with_packed(stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor | PackedTensor]:
    """With the two parts of each packed tensor as one, under its name.

    Raises:
        ConversionError: bytes are no such part, or two parts do not fit together.
    """
    found: dict[str, StoredTensor | PackedTensor] = dict(stored)
    for name in [name for name in stored if name.endswith(BLOCKS)]:
        whole = name.removesuffix(BLOCKS)
        blocks, scales = stored[name], stored.get(whole + SCALES)
        if scales is None or {blocks.dtype, scales.dtype} != {torch.uint8} or whole in stored:
            continue
        if (shape := packed_shape(blocks.shape, scales.shape)) is None:
            raise ConversionError(
                f"{blocks.file}: {one_line(whole, 80)} has blocks {blocks.shape} and scales {scales.shape}, which do "
                "not fit together (MXFP4 has blocks of 32 numbers in 16 bytes, and a scale for each)"
            )
        found[whole] = PackedTensor(blocks, scales, shape)
        del found[name], found[whole + SCALES]
    for name, tensor in found.items():
        if isinstance(tensor, StoredTensor) and tensor.dtype not in DTYPES.values():
            raise ConversionError(
                f"{tensor.file}: {one_line(name, 80)} is U8, and weights are {', '.join(DTYPES)} (bytes only as "
                f"*{BLOCKS} and *{SCALES} of MXFP4)"
            )
    return found


def map_file(file: Path) -> np.memmap[Any, Any]:
    """The bytes of a file, mapped into memory, to be written to in memory alone.

    Raises:
        ConversionError: it is not there any more.
    """
    with _opened(file) as opened:
        return np.memmap(opened, np.uint8, mode="c")


def require_finite(tensor: Tensor, name: str, file: Path) -> Tensor:
    """A tensor of a file.

    Raises:
        ConversionError: it holds a number that is not finite.
    """
    # One pass without a mask as large as the tensor: what is not a number is in both.
    if tensor.numel() and not torch.stack(torch.aminmax(tensor)).isfinite().all():
        raise ConversionError(f"{file}: {name} holds a number that is not finite: the file is damaged, or the model is")
    return tensor


def open_tensors(folder: Path) -> TensorFiles:
    """The weights in a folder, in one file or in the several that an index names.

    Raises:
        ConversionError: there are none that can be read safely.
    """
    if (folder / SINGLE).is_file():
        return TensorFiles([inside(folder, SINGLE)])
    if (folder / INDEX).is_file():
        index = read_json(folder / INDEX)
        named = index.get("weight_map") if isinstance(index, Mapping) else None
        if not isinstance(named, Mapping) or not named or not all(isinstance(name, str) for name in named.values()):
            raise ConversionError(f"{folder / INDEX} names no files (expected a table weight_map of tensors and files)")
        files = TensorFiles([inside(folder, name) for name in sorted(set(named.values()))])
        if odd := sorted(files.shapes.keys() ^ named.keys()):
            raise ConversionError(f"{folder / INDEX} and its files do not agree about {_some(odd)}")
        return files
    if pickles := [name for name in PICKLES if (folder / name).exists()]:
        raise ConversionError(
            f"{folder / pickles[0]} is a pickle, which can run any program when it is read: convert it where that can "
            f'do no harm, with: python -c "from transformers import AutoModelForCausalLM as M; '
            f"M.from_pretrained('{folder.name}').save_pretrained('{folder.name}-safe')\""
        )
    raise ConversionError(f"{folder} holds no weights (expected {SINGLE}, or {INDEX} and its files)")


def inside(folder: Path, name: str) -> Path:
    """The file of that name in a folder.

    Raises:
        ConversionError: the name, or a link of that name, leads out of the folder.
    """
    path = folder / name
    if Path(name).name != name or name in ("", ".", ".."):
        raise ConversionError(f"{folder}: {shown(name)} leads out of the folder: only files in it are read")
    if path.is_symlink():
        target = path.resolve()
        # The Hub's own cache keeps each file under its hash, and links to it.
        blobs = folder.resolve().parent.parent / "blobs"
        if target.parent not in (folder.resolve(), blobs):
            raise ConversionError(f"{path} is a link that leads out of the folder: copy the file there instead")
    if not path.is_file():
        raise ConversionError(f"{path} is missing")
    return path


def read_header(file: Path) -> dict[str, StoredTensor]:
    """The place of each tensor of a safetensors file, every offset checked against the file's size.

    Raises:
        ConversionError: the header is too long, is no JSON, or says what the file does not hold.
    """
    with _opened(file) as opened:
        size = os.fstat(opened.fileno()).st_size
        start = opened.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise ConversionError(
                f"{file} is not a whole safetensors file: it has {size:,} bytes, and its header says more"
            )
        if length > MAX_HEADER_BYTES:
            raise ConversionError(f"{file}: a header of {length:,} bytes is more than the {MAX_HEADER_BYTES:,} allowed")
        try:
            header = parse_json(opened.read(length).decode("utf-8"))
            rows = sorted(_rows(header), key=lambda row: row[2])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConversionError(
                f"{file} is not a sound safetensors file: {type(error).__name__} in its header"
            ) from None
    end = 0
    for name, kind, begin, stop, shape in rows:
        if kind not in STORED_DTYPES:
            raise ConversionError(
                f"{file}: {one_line(name, 80)} is {one_line(kind, 20)}, and weights are {', '.join(DTYPES)}"
            )
        if begin != end or stop - begin != math.prod(shape) * STORED_DTYPES[kind].itemsize:
            raise ConversionError(
                f"{file}: {one_line(name, 100)} does not lie where the header says: the file is damaged"
            )
        end = stop
    if end != size - 8 - length:
        raise ConversionError(
            f"{file} has {size:,} bytes and its header declares {end + 8 + length:,}: the file is cut short"
        )
    return {
        name: StoredTensor(file, STORED_DTYPES[kind], shape, 8 + length + begin) for name, kind, begin, _, shape in rows
    }


def _opened(file: Path) -> BinaryIO:
    try:
        return open_regular(file)
    except OSError as error:
        raise ConversionError(f"{file} cannot be read: {error.strerror}") from None


def add_prefix(files: TensorFiles, wanted: Collection[str], prefix: str) -> None:
    """Puts a prefix that the files leave out before their names."""
    if prefix and not any(name.startswith(prefix) for name in files.shapes):
        files.rename({name: prefix + name for name in files.shapes if prefix + name in wanted})


def match(
    place: Path,
    shapes: Mapping[str, tuple[int, ...]],
    wanted: Mapping[str, tuple[int, ...]],
    extra: Sequence[str],
) -> None:
    """Checks that the tensors of a folder or file have these names and shapes, and that there are no others.

    Raises:
        ConversionError: they do not; the message lists what is missing, left over or of another shape.
    """
    missing = sorted(wanted.keys() - shapes.keys())
    left = [name for name in shapes if name not in wanted and not any(re.fullmatch(e, name) for e in extra)]
    odd = [
        f"{name} is {shapes[name]} and its config asks for {shape}"
        for name, shape in wanted.items()
        if name in shapes and shapes[name] != shape
    ]
    problems = [
        *([f"missing: {_some(missing)}"] if missing else []),
        *([f"left over: {_some(sorted(left))}"] if left else []),
        *([f"of another shape: {_some(odd)}"] if odd else []),
    ]
    if problems:
        raise ConversionError(f"{place}: weights and config do not agree ({'; '.join(problems)})")


def _rows(header: dict[str, Any]) -> Iterator[tuple[str, str, int, int, tuple[int, ...]]]:
    for name, row in header.items():
        if name == "__metadata__":
            continue
        begin, stop = row["data_offsets"]
        shape = tuple(row["shape"])
        if not all(isinstance(number, int) and 0 <= number < 2**62 for number in (begin, stop, *shape)):
            raise ValueError(name)
        if not isinstance(row["dtype"], str) or len(shape) > MAX_DIMENSIONS:
            raise ValueError(name)
        yield name, row["dtype"], begin, stop, shape


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(one_line(name, 80) for name in names[:SHOWN]) + rest
