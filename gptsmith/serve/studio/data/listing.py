"""Lists of files, as they are before they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.data.discover import Found, discover
from gptsmith.data.examples import read_shape
from gptsmith.serve.studio.data.collections import Collection
from gptsmith.serve.studio.data.names import readable_path


def about(collection: Collection) -> dict[str, Any]:
    """A collection for a list: its name, files, and the shape of its examples."""
    found = found_in(collection)
    sizes = [candidate.file.path.stat().st_size for candidate in found.candidates]
    kind, problems = None, list[str]()
    try:
        kind = read_shape([collection.sources]) if sizes else None
    except UserError as error:
        problems.append(str(error))
    return {
        "name": collection.name,
        "path": None if collection.named is None else readable_path(collection.named),
        "num_files": len(sizes),
        "num_bytes": sum(sizes),
        "num_skipped": len(found.skipped),
        "kind": kind,
        "problems": problems,
    }


def found_in(collection: Collection) -> Found:
    """The files of a collection; none of an empty one."""
    try:
        return discover([collection.sources])
    except UserError:
        return Found()


def files_of(collection: Collection) -> list[dict[str, Any]]:
    """The files of a collection by name: each with its path in it, its size, and why it is skipped (None if it is
    read)."""
    found = found_in(collection)
    paths: dict[str, str | None] = {str(candidate.file.path): None for candidate in found.candidates}
    paths |= found.skipped
    return [
        {"path": shown_path(collection, path), "num_bytes": _size(Path(path)), "skipped": reason}
        for path, reason in sorted(paths.items())
    ]


def shown_path(collection: Collection, path: str | Path) -> str:
    """The path of a file in its collection, for a page."""
    path, base = Path(path), collection.sources
    return readable_path(path.relative_to(base) if path.is_relative_to(base) and path != base else path.name)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
