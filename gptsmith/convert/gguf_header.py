"""The header of a GGUF file that somebody else wrote: every count and offset is checked before memory is taken."""

from __future__ import annotations

import math
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO, ClassVar

from gptsmith.base.bounded import open_regular
from gptsmith.base.errors import ConversionError, one_line

MAGIC, VERSIONS = b"GGUF", (2, 3)
MAX_HEADER_BYTES = 1 << 28
MAX_ENTRIES = 1 << 17
"""The most keys, and the most tensors."""
MAX_VALUES = 1 << 22
"""The most values of an array."""
MAX_KEY_BYTES, MAX_DIMENSIONS = 1 << 10, 4
MAX_NESTING = 2
ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAX_ALIGNMENT = "general.alignment", 32, 1 << 16
SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
MAX_SHARDS = 10_000


@dataclass(frozen=True)
class PlacedTensor:
    """The place of a tensor in a GGUF file.

    Attributes:
        name: its name.
        shape: its dimensions, the slowest first: (out, in) of a matrix.
        type_id: the number of its type.
        offset: its first byte, counted from the beginning of the data.
    """

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int


@dataclass(frozen=True)
class Header:
    """The keys and the tensors of one GGUF file.

    Attributes:
        keys: the values by their names.
        tensors: the tensors in the order of the file.
        data: the place of the first byte of the data.
        alignment: the number that each tensor's offset is a multiple of.
        num_bytes: the size of the file.
    """

    keys: dict[str, Any]
    tensors: list[PlacedTensor]
    data: int
    alignment: int
    num_bytes: int


def is_gguf(path: Path) -> bool:
    """Whether a path is a file that begins as a GGUF file does, or is named as one."""
    try:
        with open_regular(path) as file:
            return file.read(len(MAGIC)) == MAGIC or path.suffix == ".gguf"
    except OSError:
        return False


def shard_names(path: PurePath) -> list[str]:
    """The names of all the files of the model that a file is a part of, the file's own if it is a whole."""
    match = SHARD.fullmatch(path.name)
    if match is None or not 0 < int(match[3]) <= MAX_SHARDS:
        return [path.name]
    return [f"{match[1]}-{number:05d}-of-{match[3]}.gguf" for number in range(1, int(match[3]) + 1)]


def gguf_in(path: Path) -> Path | None:
    """The GGUF model that a path names: a file, or a folder that holds one model and nothing else that is one; else
    None.

    Raises:
        ConversionError: the folder holds several, or the name is that of a GGUF file, which is not there.
    """
    if path.suffix == ".gguf" and not path.exists():
        raise ConversionError(f"{path}: there is no such file")
    if path.is_file():
        return path if is_gguf(path) else None
    if not path.is_dir() or (path / "config.json").exists() or (path / "run.toml").exists():
        return None
    files = sorted(file for file in path.glob("*.gguf") if file.is_file())
    models = {shard_names(file)[0]: file for file in reversed(files)}
    if len(models) > 1:
        raise ConversionError(f"{path} holds {len(models)} models: name one of {', '.join(sorted(models))}")
    return next(iter(models.values()), None)


def read_header(file: Path) -> Header:
    """
    Raises:
        ConversionError: the file is no GGUF file of a known version, is cut short, or counts what it does not hold.
    """
    try:
        with open_regular(file) as opened:
            return _Reader(file, opened).header()
    except OSError as error:
        raise ConversionError(f"{file} cannot be read: {error.strerror}") from None


class _Reader:
    """A file, read from its beginning."""

    SCALARS: ClassVar[dict[int, struct.Struct]] = {
        number: struct.Struct("<" + letter)
        for number, letter in {
            0: "B",
            1: "b",
            2: "H",
            3: "h",
            4: "I",
            5: "i",
            6: "f",
            10: "Q",
            11: "q",
            12: "d",
        }.items()
    }
    BOOL, STRING, ARRAY = 7, 8, 9

    def __init__(self, path: Path, opened: BinaryIO) -> None:
        self.path, self.opened = path, opened
        self.num_bytes = os.fstat(opened.fileno()).st_size
        self.place = 0

    def fail(self, why: str) -> ConversionError:
        return ConversionError(f"{self.path} is not a sound GGUF file: {why}")

    def take(self, count: int) -> bytes:
        if self.place + count > min(self.num_bytes, MAX_HEADER_BYTES):
            if self.place + count > self.num_bytes:
                raise self.fail(f"its header goes on behind its {self.num_bytes:,} bytes: it is cut short, or damaged")
            raise self.fail(f"its header has more than the {MAX_HEADER_BYTES:,} bytes allowed")
        found = self.opened.read(count)
        if len(found) < count:
            raise self.fail("it was cut short while it was read")
        self.place += count
        return found

    def number(self, letter: str) -> int:
        form = struct.Struct("<" + letter)
        return int(form.unpack(self.take(form.size))[0])

    def text(self, most: int, what: str) -> str:
        length = self.number("Q")
        if length > most:
            raise self.fail(f"{what} of {length:,} bytes (at most {most:,})")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise self.fail(f"{what} is not UTF-8") from None

    def header(self) -> Header:
        if self.take(len(MAGIC)) != MAGIC:
            raise ConversionError(f"{self.path} is not a GGUF file: it does not begin with GGUF")
        version = self.number("I")
        if version not in VERSIONS:
            turned = int.from_bytes(version.to_bytes(4, "little"), "big")
            why = "its numbers are big-endian" if turned in VERSIONS else f"version {version} is not known"
            raise ConversionError(f"{self.path}: {why} (known: {' and '.join(map(str, VERSIONS))}, little-endian)")
        counts = {"tensors": self.number("Q"), "keys": self.number("Q")}
        for what, count in counts.items():
            if count > MAX_ENTRIES:
                raise self.fail(f"it counts {count:,} {what} (at most {MAX_ENTRIES:,})")
        keys: dict[str, Any] = {}
        for _ in range(counts["keys"]):
            key = self.text(MAX_KEY_BYTES, "the name of a key")
            if key in keys:
                raise self.fail(f"{one_line(key, 80)} is there twice")
            keys[key] = self.value(self.number("I"), key)
        alignment = keys.get(ALIGNMENT_KEY, DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            raise self.fail(f"{ALIGNMENT_KEY}={one_line(alignment, 40)} (allowed: powers of 2 up to {MAX_ALIGNMENT:,})")
        tensors = [self.tensor() for _ in range(counts["tensors"])]
        data = math.ceil(self.place / alignment) * alignment
        return Header(keys, tensors, data, alignment, self.num_bytes)

    def value(self, kind: int, key: str, depth: int = 0) -> Any:
        if kind in self.SCALARS:
            return self.SCALARS[kind].unpack(self.take(self.SCALARS[kind].size))[0]
        if kind == self.BOOL:
            return self.take(1) != b"\0"
        if kind == self.STRING:
            return self.text(MAX_HEADER_BYTES, f"the value of {one_line(key, 80)}")
        if kind != self.ARRAY or depth == MAX_NESTING:
            raise self.fail(f"{one_line(key, 80)} has a value of type {kind}, which is not known")
        inner, count = self.number("I"), self.number("Q")
        if count > MAX_VALUES:
            raise self.fail(f"{one_line(key, 80)} has {count:,} values (at most {MAX_VALUES:,})")
        if inner in self.SCALARS:
            form = self.SCALARS[inner]
            return [value for (value,) in form.iter_unpack(self.take(count * form.size))]
        return [self.value(inner, key, depth + 1) for _ in range(count)]

    def tensor(self) -> PlacedTensor:
        name = self.text(MAX_KEY_BYTES, "the name of a tensor")
        count = self.number("I")
        if not 1 <= count <= MAX_DIMENSIONS:
            raise self.fail(f"{one_line(name, 80)} has {count:,} dimensions (1 to {MAX_DIMENSIONS})")
        shape = tuple(self.number("Q") for _ in range(count))
        if not all(0 < size < 2**48 for size in shape) or math.prod(shape) >= 2**48:
            raise self.fail(f"{one_line(name, 80)} has the dimensions {shape}")
        return PlacedTensor(name, shape[::-1], self.number("I"), self.number("Q"))
