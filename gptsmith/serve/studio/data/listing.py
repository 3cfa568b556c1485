"""Lists of files, as they are before they are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.data.discover import Found, discover
from gptsmith.data.examples import read_shape
from gptsmith.data.files import extension_of
from gptsmith.data.shapes import TEXT
from gptsmith.serve.studio.data.collections import Collection
from gptsmith.serve.studio.data.names import readable_path
from gptsmith.serve.studio.data.parts import parts_of

MAX_KEPT = 50
"""Lists of files that are remembered."""


def about(collection: Collection) -> dict[str, Any]:
    """A collection for a list: its name, files, and the shape of its examples."""
    stamp = stamp_of(collection)
    found = _found(collection.sources, stamp)
    kind, problem = _kind(collection.sources, stamp)
    sizes = [_size(candidate.file.path) for candidate in found.candidates]
    return {
        "name": collection.name,
        "path": None if collection.named is None else readable_path(collection.named),
        "num_files": len(sizes),
        "num_bytes": sum(sizes),
        "num_skipped": len(found.skipped),
        "kind": kind if sizes else None,
        "parts": [part.row() for part in parts_of(collection.sources, stamp)] if sizes else [],
        "problems": [] if problem is None else [problem],
    }


def stamp_of(collection: Collection) -> str:
    """What is the same as long as no file of a collection has changed: of paths, sizes and times, so that it is quickly
    there."""
    stamp = sha256()
    for path, stat in _stats(str(collection.sources), set()):
        stamp.update(f"{len(path)} ".encode() + os.fsencode(path) + f" {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return stamp.hexdigest()


def _stats(path: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, os.stat_result]]:
    """The files at a path, as `discover` finds them."""
    try:
        stat = os.stat(path)  # noqa: PTH116
        if not S_ISDIR(stat.st_mode):
            yield path, stat
            return
        if (stat.st_dev, stat.st_ino) in seen:
            return
        seen.add((stat.st_dev, stat.st_ino))
        names = sorted(name for name in os.listdir(path) if not name.startswith("."))  # noqa: PTH208
    except OSError:
        return
    for name in names:
        yield from _stats(f"{path}/{name}", seen)


@lru_cache(maxsize=MAX_KEPT)
def _found(sources: Path, stamp: str) -> Found:
    """The files at a path, also where there is none that can be read."""
    try:
        return discover([sources])
    except UserError:
        paths = [Path(path) for path, _ in _stats(str(sources), set())]
        return Found(skipped={str(path): f"unknown extension {extension_of(path) or '(none)'}" for path in paths})


@lru_cache(maxsize=MAX_KEPT)
def _kind(sources: Path, stamp: str) -> tuple[str | None, str | None]:
    """The shape of the examples in files, `text` where most of it is no records; or why it is not known."""
    sizes = {True: 0, False: 0}
    for candidate in _found(sources, stamp).candidates:
        sizes[candidate.reader.holds_records] += _size(candidate.file.path)
    if sizes[True] and sizes[False] > sizes[True]:
        return TEXT, None
    try:
        return (read_shape([sources]) if any(sizes.values()) else None), None
    except UserError as error:
        return None, str(error)


def files_of(collection: Collection) -> list[dict[str, Any]]:
    """The files of a collection by name: each with its path in it, its size, and why it is skipped (None if it is
    read)."""
    return [
        {"path": shown_path(collection, path), "num_bytes": _size(Path(path)), "skipped": reason}
        for path, reason in _paths(collection)
    ]


def files_called(collection: Collection, names: Iterable[str]) -> list[Path]:
    """The files of a collection that are shown by these paths."""
    wanted = set(names)
    return [Path(path) for path, _ in _paths(collection) if shown_path(collection, path) in wanted]


def _paths(collection: Collection) -> list[tuple[str, str | None]]:
    """Every file, and why it is skipped."""
    found = _found(collection.sources, stamp_of(collection))
    paths: dict[str, str | None] = {str(candidate.file.path): None for candidate in found.candidates}
    return sorted({**paths, **found.skipped}.items())


def shown_path(collection: Collection, path: str | Path) -> str:
    """The path of a file in its collection, for a page."""
    path, base = Path(path), collection.sources
    return readable_path(path.relative_to(base) if path.is_relative_to(base) and path != base else path.name)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
