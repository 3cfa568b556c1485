"""The tensors in the safetensors files of a checkpoint, each read when it is asked for.

Processes that share a model write a file each: `model-00001-of-00004.safetensors` holds parts of tensors, and its
metadata say where they lie in the whole ones.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gptsmith.base.bounded import open_regular
from gptsmith.base.errors import CheckpointError, UserError, one_line
from gptsmith.base.json_reader import parse_json
from gptsmith.base.json_text import json_text
from gptsmith.run.documents import PartsDocument
from gptsmith.run.sharding import Part

MAX_HEADER_BYTES = 10_000_000
DTYPE_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64", "I8": "int8"}
"""The names of dtypes, by those in a safetensors file."""
ITEM_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1}
"""The bytes of a number, by the names of dtypes in a safetensors file."""
PARTS = "parts"
"""The key of a file's metadata: a table of `PartRecord` by the names of tensors."""


@dataclass(frozen=True)
class Piece:
    """A tensor in a file, and where it begins along the dimension by which the whole one was divided."""

    path: Path
    file: Any
    shape: tuple[int, ...]
    dtype: str
    dim: int = 0
    start: int = 0

    @property
    def stop(self) -> int:
        return self.start + (self.shape[self.dim] if self.shape else 1)

    def read(self, name: str, start: int, stop: int) -> Tensor:
        """What it has of the whole tensor from `start` to `stop`."""
        if not self.shape or (start <= self.start and stop >= self.stop):
            whole: Tensor = self.file.get_tensor(name)
            return whole
        wanted = slice(max(start - self.start, 0), min(stop, self.stop) - self.start)
        part: Tensor = self.file.get_slice(name)[(*[slice(None)] * self.dim, wanted)]
        return part


class StoredTensors(Mapping[str, Tensor]):
    """The tensors of some files by name. Iterating over their names reads none.

    Attributes:
        files: the files.
        shapes: the shape of each.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """
        Raises:
            CheckpointError: a file cannot be read, is no sound safetensors file, or a part of a tensor is missing.
        """
        self.files = list(files)
        self._pieces: dict[str, list[Piece]] = defaultdict(list)
        self.shapes: dict[str, tuple[int, ...]] = {}
        for path in files:
            self._add(path)
        for name, pieces in self._pieces.items():
            pieces.sort(key=lambda piece: piece.start)
            self._require_all(name, pieces)

    def _add(self, path: Path) -> None:
        with _sound(path):
            _require_short_header(path)
            file: Any = safe_open(path, framework="pt")
            parts = parse_json((file.metadata() or {}).get(PARTS, "{}"))
            parts = PartsDocument.checked({PARTS: parts}, path, CheckpointError)[PARTS]
            for name in file.keys():  # noqa: SIM118
                stored = file.get_slice(name)
                shape, dtype = tuple(stored.get_shape()), stored.get_dtype()
                record = parts.get(name, {"shape": shape, "dim": 0, "start": 0})
                piece, whole = Piece(path, file, shape, dtype, record["dim"], record["start"]), tuple(record["shape"])
                if self.shapes.setdefault(name, whole) != whole or not piece.dim < max(1, len(shape)):
                    raise CheckpointError(f"{path}: {one_line(name, 100)} is a part of another tensor than elsewhere")
                self._pieces[name].append(piece)

    def _require_all(self, name: str, pieces: Sequence[Piece]) -> None:
        """
        Raises:
            CheckpointError: the pieces of a tensor do not make the whole one.
        """
        shape, (first, *_), reached = self.shapes[name], pieces, 0
        for piece in pieces:
            others = [length for dim, length in enumerate(piece.shape) if dim != first.dim]
            wanted = [length for dim, length in enumerate(shape) if dim != first.dim]
            is_next = piece.start == reached and (piece.dim, piece.dtype) == (first.dim, first.dtype)
            if not is_next or others != wanted or len(piece.shape) != len(shape):
                break
            reached = piece.stop
        else:
            if reached == (shape[first.dim] if shape else 1):
                return
        raise CheckpointError(f"{first.path.parent}: the parts of {one_line(name, 100)} do not make a whole")

    def __getitem__(self, name: str) -> Tensor:
        return self.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)

    def __contains__(self, name: object) -> bool:
        return name in self._pieces

    def read(self, name: str, part: Part | None = None) -> Tensor:
        """A tensor, or only a part of it, which is all that is read. A whole one of a single file is its own bytes,
        mapped into memory.

        Raises:
            CheckpointError: it cannot be read.
        """
        pieces, shape = self._pieces[name], self.shapes[name]
        dim = pieces[0].dim
        start, stop = (part.start, part.stop) if part is not None and part.dim == dim else (0, pieces[-1].stop)
        with _sound(pieces[0].path):
            read = [piece.read(name, start, stop) for piece in pieces if piece.start < stop and piece.stop > start]
        if not read:
            dtype = pieces[0].read(name, pieces[0].start, pieces[0].start + 1).dtype
            found = torch.empty([0 if at == dim else length for at, length in enumerate(shape)], dtype=dtype)
        else:
            found = read[0] if len(read) == 1 else torch.cat(read, dim)
        return found if part is None or part.dim == dim else part.of(found)

    def dtype(self, name: str) -> str:
        """The name of the dtype of a tensor, as safetensors files have it."""
        return self._pieces[name][0].dtype

    @property
    def num_bytes(self) -> int:
        """The bytes of all tensors."""
        return sum(math.prod(shape) * ITEM_BYTES[self.dtype(name)] for name, shape in self.shapes.items())

    def num_parameters(self) -> Counter[str]:
        """The numbers in all tensors, by the name of their dtype."""
        counts: Counter[str] = Counter()
        for name, shape in self.shapes.items():
            counts[DTYPE_NAMES.get(self.dtype(name), self.dtype(name))] += math.prod(shape)
        return counts


def save_tensors(path: Path, tensors: Mapping[str, Tensor], parts: Mapping[str, Part] | None = None) -> None:
    """Writes a file of tensors, some of which are parts of whole ones. Stored ones are read one by one."""
    if isinstance(tensors, StoredTensors):
        _copy(path, tensors)
        return
    records = {
        name: {"shape": list(part.shape), "dim": part.dim, "start": part.start}
        for name, part in (parts or {}).items()
        if name in tensors
    }
    save_file(dict(tensors), path, metadata={PARTS: json_text(records)} if records else None)


def _copy(path: Path, stored: StoredTensors) -> None:
    """Writes stored tensors into one file, with one in memory at a time."""
    # As the library orders them: those of larger numbers first, so that each begins at a multiple of its size.
    names = sorted(stored, key=lambda name: (-ITEM_BYTES[stored.dtype(name)], name))
    header, end = {}, 0
    for name in names:
        begin, end = end, end + math.prod(stored.shapes[name]) * ITEM_BYTES[stored.dtype(name)]
        header[name] = {"dtype": stored.dtype(name), "shape": stored.shapes[name], "data_offsets": [begin, end]}
    text = json_text(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(stored[name].contiguous().view(-1).view(torch.uint8).numpy().data)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: it cannot be read, or is no sound safetensors file.
    """
    return dict(StoredTensors([path]))


def _require_short_header(path: Path) -> None:
    """
    Raises:
        CheckpointError: a file has a header longer than any of ours, which would take long to read.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        header_bytes = int.from_bytes(file.read(8), "little")
    if header_bytes > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: a header of {header_bytes:,} bytes is more than the {MAX_HEADER_BYTES:,} allowed"
        )


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """
    Raises:
        CheckpointError: a file cannot be read in the block.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or one_line(error)}") from None
    except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is not a sound safetensors file: {one_line(error)}") from None
