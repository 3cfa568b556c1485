"""Mutations of files: of their bytes, of the values in JSON and TOML, of the headers of safetensors and GGUF files, of
the parts of packages and their XML, of the numbers in a PDF file, of what is packed."""

from __future__ import annotations

import copy
import gzip
import json
import random
import re
import tomllib
import zlib
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import tomli_w

from tests.fuzz.documents import zstandard

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e-300, 1e308, float("nan"), float("inf"),
    "", "x", "../../etc/passwd", "/dev/zero", "\ud800", "\x1b]0;title\x07", "[/red]", "a\nb", "\0", "x" * 100_000,
    "llama", [], {}, [1], {"a": 1}, [[[[]]]], [None], ["x", 1], {"kind": "x"}, list(range(1000)), {"x" * 10_000: "y"},
)  # fmt: skip
"""Values of every type, at and beyond each bound."""
DEEP = 100_000
PACKAGES = (".docx", ".odt", ".ods", ".xlsx", ".pptx", ".epub")
WORDS = (
    "",
    "x",
    "-1",
    "0",
    "7",
    "99999999",
    "9" * 5000,
    "1e999",
    "nan",
    "²",
    "٣",
    "%1%2%9",
    "../../x",
    "/",
    "#",
    "XFD1048576",
    "ZZZZ9",
    "x" * 100_000,
    "&#0;",
    "&amp;",
    "[/red]",
    "utf-7",
    "punycode",
    "idna",
    "base64",
    "a\nb",
)
"""Values of attributes and headers."""
TAG, ATTRIBUTE = re.compile(r"<[^<>]+>"), re.compile(r'"[^"<>]*"')
NUMBER, NAME = re.compile(rb"\d+"), re.compile(rb"/[A-Z]\w+")
NUMBERS = (b"0", b"-1", b"1", b"2", b"5", b"255", b"65536", b"2147483647", b"4294967296", b"9" * 30, b"0.0001", b"1e9")
BYTES = (b"", b"\0", b"\xff", b"\xed\xa0\x80", b"{", b"[" * DEEP, b'{"a":' * DEEP, b"9" * 5000, b"1e999", b"NaN", b'"')


def mutated(path: Path, chance: random.Random) -> bytes:
    """The content of a file, mutated once or a few times."""
    content = path.read_bytes()
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        content = _mutated_once(content, path, chance)
    return content


def _mutated_once(content: bytes, path: PurePath, chance: random.Random) -> bytes:
    if path.suffix in (".gz", ".zst") and chance.random() < 0.5:
        return _in_what_is_packed(content, path, chance)
    if path.suffix == ".safetensors" and chance.random() < 0.7:
        return _in_header(content, chance)
    if path.suffix == ".gguf" and chance.random() < 0.7:
        return _in_number(content, chance)
    if path.suffix in (".json", ".jsonl", ".ipynb", ".toml") and chance.random() < 0.75:
        return _in_values(content, path.suffix, chance)
    if path.suffix in PACKAGES and chance.random() < 0.85:
        return _in_package(content, chance)
    if path.suffix in (".xml", ".xhtml", ".opf", ".rels", ".html") and chance.random() < 0.8:
        return _in_tags(content, chance)
    if path.suffix == ".pdf" and chance.random() < 0.7:
        return _in_one_match(content, *chance.choice(((NUMBER, NUMBERS), (NAME, NAME.findall(content)))), chance)
    if path.suffix in (".eml", ".mbox") and chance.random() < 0.6:
        return _in_one_match(content, re.compile(rb'[^\s:;="]+'), [word.encode() for word in WORDS], chance)
    return _in_bytes(content, chance)


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


def _in_what_is_packed(content: bytes, path: PurePath, chance: random.Random) -> bytes:
    """The same mutations inside; content that no longer unpacks is mutated as it is."""
    import zstandard as library

    try:
        if path.suffix == ".gz":
            return gzip.compress(_mutated_once(gzip.decompress(content), path.with_suffix(""), chance))
        unpacked = library.ZstdDecompressor().decompressobj().decompress(content)
        return zstandard(_mutated_once(unpacked, path.with_suffix(""), chance))
    except (OSError, EOFError, ValueError, zlib.error, library.ZstdError):
        return _in_bytes(content, chance)


def _in_package(content: bytes, chance: random.Random) -> bytes:
    """A part is mutated, left out, doubled, emptied or exchanged."""
    try:
        with ZipFile(BytesIO(content)) as package:
            parts = [(name, package.read(name)) for name in package.namelist()]
    except Exception:  # whatever a mutation before this one has left
        return _in_bytes(content, chance)
    if not parts:
        return _in_bytes(content, chance)
    of_text = [at for at, (name, _) in enumerate(parts) if PurePath(name).suffix in (".xml", ".rels", ".xhtml", ".opf")]
    place = chance.choice(of_text or range(len(parts)))
    name, part = parts[place]
    how = chance.randrange(8)
    if how == 0:
        del parts[place]
    elif how == 1:
        parts.append((name, _in_bytes(part, chance)))
    elif how == 2:
        parts[place] = (name, chance.choice(parts)[1])
    else:
        parts[place] = (name, _mutated_once(part, PurePath(name), chance))
    file = BytesIO()
    with ZipFile(file, "w", chance.choice((ZIP_DEFLATED, ZIP_STORED))) as package:
        for name, part in parts:
            package.writestr(name, part)
    return file.getvalue()


def _in_tags(content: bytes, chance: random.Random) -> bytes:
    """An attribute gets an odd value, or a tag is left out, doubled, exchanged or nested a great many times."""
    text = content.decode("utf-8", "replace")
    if chance.random() < 0.5:
        matches, odd = list(ATTRIBUTE.finditer(text)), [f'"{word}"' for word in WORDS]
    else:
        matches, odd = list(TAG.finditer(text)), []
    if not matches:
        return _in_bytes(content, chance)
    match = chance.choice(matches)
    others = [match[0] * count for count in (0, 2, 1000, DEEP)] + [chance.choice(matches)[0]]
    others.append(match[0] + chance.choice(WORDS))
    new = chance.choice(odd or others)
    return (text[: match.start()] + new + text[match.end() :]).encode("utf-8", "replace")


def _in_one_match(content: bytes, pattern: re.Pattern[bytes], odd: Any, chance: random.Random) -> bytes:
    matches = list(pattern.finditer(content))
    if not matches or not odd:
        return _in_bytes(content, chance)
    match = chance.choice(matches)
    return content[: match.start()] + chance.choice(odd) + content[match.end() :]


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
