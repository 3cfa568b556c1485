"""Headers of GGUF files that somebody forged or damaged: refused in one line, before memory is taken."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.convert.gguf_header import MAX_ENTRIES, MAX_VALUES, gguf_in, read_header, shard_names
from gptsmith.convert.gguf_tensors import GGUFTensors
from gptsmith.convert.open import open_model

F32, U32, STRING, ARRAY = 0, 4, 8, 9


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: str, *, shape: tuple[int, ...] = (8,), kind: int = F32, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def file(
    tensors: list[bytes],
    keys: list[bytes] | None = None,
    *,
    num_bytes: int = 32,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    magic: bytes = b"GGUF",
) -> bytes:
    keys = keys or []
    num_tensors, num_keys = counts or (len(tensors), len(keys))
    header = magic + struct.pack("<IQQ", version, num_tensors, num_keys) + b"".join(keys) + b"".join(tensors)
    return header + b"\0" * (-len(header) % 32) + b"\0" * num_bytes


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "no GGUF": (lambda: file([], magic=b"GGML"), "does not begin with GGUF"),
    "version": (lambda: file([], version=1), r"version 1 is not known \(known: 2 and 3"),
    "big-endian": (lambda: file([], version=0x03000000), "its numbers are big-endian"),
    "many tensors": (lambda: file([], counts=(2**62, 0)), f"at most {MAX_ENTRIES:,}"),
    "many keys": (lambda: file([], counts=(0, 2**31)), f"at most {MAX_ENTRIES:,}"),
    "more tensors than there are": (lambda: file([], num_bytes=0, counts=(9, 0)), "is cut short, or damaged"),
    "long string": (lambda: file([], [key("a", STRING, struct.pack("<Q", 2**40))]), "268,435,456"),
    "long key": (lambda: file([], [struct.pack("<Q", 2**20)]), "the name of a key of 1,048,576 bytes"),
    "not UTF-8": (lambda: file([], [key("a", STRING, struct.pack("<Q", 1) + b"\xff")]), "is not UTF-8"),
    "long array": (lambda: file([], [key("a", ARRAY, struct.pack("<IQ", U32, 2**40))]), f"at most {MAX_VALUES:,}"),
    "array behind the end": (lambda: file([], [key("a", ARRAY, struct.pack("<IQ", U32, 2**20))]), "cut short"),
    "deep arrays": (
        lambda: file([], [key("a", ARRAY, struct.pack("<IQ", ARRAY, 1) * 900)]), "a value of type 9, which is not known"
    ),
    "type of value": (lambda: file([], [key("a", 99, b"")]), "a value of type 99"),
    "key twice": (lambda: file([], [key("a", U32, b"\0" * 4)] * 2), "a is there twice"),
    "alignment": (lambda: file([], [key("general.alignment", U32, struct.pack("<I", 33))]), "general.alignment=33"),
    "no alignment": (lambda: file([], [key("general.alignment", U32, b"\0" * 4)]), "general.alignment=0"),
    "no dimensions": (lambda: file([tensor("a", shape=())]), "a has 0 dimensions"),
    "many dimensions": (lambda: file([tensor("a", shape=(1,) * 9)]), "a has 9 dimensions"),
    "large": (lambda: file([tensor("a", shape=(2**40, 2**40))]), "a has the dimensions"),
    "empty": (lambda: file([tensor("a", shape=(0,))]), "a has the dimensions"),
    "tensor twice": (lambda: file([tensor("a"), tensor("a", offset=32)], num_bytes=64), "a is there twice"),
    "overlap": (lambda: file([tensor("a", shape=(16,)), tensor("b", offset=32)], num_bytes=64), "b does not lie where"),
    "hole": (lambda: file([tensor("a"), tensor("b", offset=64)], num_bytes=96), "b does not lie where"),
    "far": (lambda: file([tensor("a", offset=2**63)]), "a does not lie where"),
    "cut short": (lambda: file([tensor("a")], num_bytes=31), "the file is cut short"),
    "too long": (lambda: file([tensor("a")], num_bytes=64), "something else is behind its end"),
    "type": (lambda: file([tensor("a", kind=77)]), r"a is of type 77, which is not known \(known: F32, F16, Q4_0"),
    "no weights": (lambda: file([tensor("a", kind=26)]), "a is I32, which is not known"),
    "removed type": (lambda: file([tensor("a", kind=4)]), "a is of type 4, which is not known"),
    "rows that are no blocks": (lambda: file([tensor("a", kind=8)]), "a has rows of 8, and Q8_0 blocks of 32"),
    "architecture": (
        lambda: file([tensor("a")], [key("general.architecture", STRING, text("rwkv"))]),
        r"general.architecture='rwkv' is not known \(known: ",
    ),
    "no keys": (lambda: file([tensor("a")]), "general.architecture=None is not known"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_header_is_refused_in_one_line_and_little_memory(fault: str, tmp_path: Path) -> None:
    content, message = BAD[fault]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content())
    tracemalloc.start()
    with pytest.raises(UserError, match=message) as caught:
        open_model(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert peak_bytes < 20_000_000


def test_every_beginning_of_a_sound_file_is_refused(tmp_path: Path) -> None:
    whole = file([tensor("a"), tensor("b", offset=32)], [key("k", STRING, text("v"))], num_bytes=64)
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole)
    assert set(GGUFTensors(path).shapes) == {"a", "b"}
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            GGUFTensors(path)


def test_a_sound_header_says_keys_of_every_type(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    values = {"u8": 7, "i8": -7, "u16": 300, "i16": -300, "u32": 2**31, "i32": -5, "u64": 2**60, "i64": -(2**60)}
    adds = (
        writer.add_uint8, writer.add_int8, writer.add_uint16, writer.add_int16, writer.add_uint32, writer.add_int32,
        writer.add_uint64, writer.add_int64,
    )  # fmt: skip
    for add, (name, value) in zip(adds, values.items(), strict=True):
        add(name, value)
    writer.add_bool("yes", True)
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", 0.1)
    writer.add_array("list", ["a", "b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    keys = read_header(tmp_path / "a.gguf").keys
    assert keys == {
        "general.architecture": "llama", **values, "yes": True, "f32": 0.5, "f64": 0.1, "list": ["a", "b"],
    }  # fmt: skip


def test_the_parts_of_a_split_model_are_named(tmp_path: Path) -> None:
    assert shard_names(Path("m-00002-of-00003.gguf")) == [f"m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert shard_names(Path("m.gguf")) == ["m.gguf"]
    assert shard_names(Path("m-00001-of-99999.gguf")) == ["m-00001-of-99999.gguf"]
    assert gguf_in(tmp_path) is None
    for read in (gguf_in, open_model, gptsmith.import_model):
        with pytest.raises(UserError, match=r"nothing.gguf: there is no such file"):
            read(tmp_path / "nothing.gguf")
