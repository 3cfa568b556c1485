"""Mutations of files: of their bytes, of the values in JSON and TOML, of the headers of safetensors and GGUF files."""

from __future__ import annotations

import copy
import json
import random
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e-300, 1e308, float("nan"), float("inf"),
    "", "x", "../../etc/passwd", "/dev/zero", "\ud800", "\x1b]0;title\x07", "[/red]", "a\nb", "\0", "x" * 100_000,
    "llama", [], {}, [1], {"a": 1}, [[[[]]]], [None], ["x", 1], {"kind": "x"}, list(range(1000)), {"x" * 10_000: "y"},
)  # fmt: skip
"""Values of every type, at and beyond each bound."""
DEEP = 100_000
BYTES = (b"", b"\0", b"\xff", b"\xed\xa0\x80", b"{", b"[" * DEEP, b'{"a":' * DEEP, b"9" * 5000, b"1e999", b"NaN", b'"')


def mutated(path: Path, chance: random.Random) -> bytes:
    """The content of a file, mutated once or a few times."""
    content = path.read_bytes()
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if path.suffix == ".safetensors" and chance.random() < 0.7:
            content = _in_header(content, chance)
        elif path.suffix == ".gguf" and chance.random() < 0.7:
            content = _in_number(content, chance)
        elif path.suffix in (".json", ".jsonl", ".ipynb", ".toml") and chance.random() < 0.75:
            content = _in_values(content, path.suffix, chance)
        else:
            content = _in_bytes(content, chance)
    return content


def _in_bytes(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.choice((0, 1, 1, 8, 100)))
    how = chance.randrange(5)
    if how == 0:
        return content[:start]
    if how == 1:
        return content[:start] + content[end:]
    if how == 2:
        return content[:start] + content[start:end] * 3 + content[end:]
    if how == 3:
        return content[:start] + bytes(chance.randrange(256) for _ in range(end - start)) + content[end:]
    return content[:start] + chance.choice(BYTES) + content[end:]


def _in_number(content: bytes, chance: random.Random) -> bytes:
    """Another number at a place of a GGUF file's header, where lengths, counts, types and offsets are."""
    size = chance.choice((4, 8))
    place = chance.randrange(8, min(len(content), 12_000) - size)
    number = chance.choice((0, 1, 2, 7, 8, 9, 31, 32, 255, 2**16, 2**31, 2**32 - 1, 2**40, 2**62, 2**64 - 1))
    return content[:place] + (number % 2 ** (8 * size)).to_bytes(size, "little") + content[place + size :]


def _in_values(content: bytes, suffix: str, chance: random.Random) -> bytes:
    try:
        if suffix == ".toml":
            return tomli_w.dumps(_with_an_odd_value(tomllib.loads(content.decode()), chance)).encode()
        if suffix == ".jsonl":
            lines = content.split(b"\n")
            place = chance.randrange(len(lines))
            lines[place] = _in_values(lines[place], ".json", chance)
            return b"\n".join(lines)
        return json.dumps(_with_an_odd_value(json.loads(content), chance)).encode()
    except (ValueError, TypeError, AttributeError, RecursionError):
        return _in_bytes(content, chance)


def _in_header(content: bytes, chance: random.Random) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = _in_values(content[8 : 8 + length], ".json", chance)
    given = chance.choice((len(header), len(header), len(header), 0, 2**40, 2**63))
    return given.to_bytes(8, "little") + header + content[8 + length :]


def _with_an_odd_value(value: Any, chance: random.Random) -> Any:
    """A copy in which one value is replaced, removed, doubled, renamed or added."""
    value = copy.deepcopy(value)
    place, key = None, None
    inner = value
    while isinstance(inner, dict | list) and inner and (place is None or chance.random() < 0.75):
        place, key = inner, chance.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        inner = place[key]
    odd = copy.deepcopy(chance.choice(ODD))
    if place is None or chance.random() < 0.02:
        return odd
    how = chance.randrange(8)
    if how == 0:
        del place[key]
    elif how == 1 and isinstance(place, dict):
        place[chance.choice(("x", "kind", "\ud800", "[/red]", "y" * 5000))] = place.pop(key)
    elif how == 2:
        other = chance.choice(list(place.values()) if isinstance(place, dict) else place)
        place[key] = copy.deepcopy(other)
    else:
        place[key] = odd
    return value
