"""The contents of the cache, with what each was made of, and emptying it of what nobody uses."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json
from gptsmith.base.leftovers import PREFIXES, leftovers, locked, may_be_in_use, remove
from gptsmith.data.cache import MANIFEST, PARTIAL

LEFTOVERS = "leftovers"
FOLDERS = {
    "records": "records",
    "corpora": "corpora",
    "tokens": "tokens",
    "prepared": "prepared",
    "tokenizers": "tokenizers",
    "suffix_arrays": "suffix_arrays",
    "near_duplicates": "near_duplicates",
    "examples": "examples",
    "references": "references",
    "models": "huggingface_hub",
    "stored": "stores",
    "compiled": "compiled",
    "documents": "documents",
}
"""The folders of the cache, by what they hold."""
SPEEDS = ("speed-*.json", "attention-*.json")
"""The files of what was measured of this machine."""
KINDS = (*FOLDERS, "speeds", LEFTOVERS)
JUST_USED_S = 10
"""What was used so recently counts as in use: its process may not hold it yet."""
NUM_NAMED = 3


@dataclass(frozen=True)
class Artefact:
    """Something in the cache."""

    kind: str
    path: Path
    num_bytes: int
    used_at_s: float
    """When it was last used, in seconds since 1970."""
    made_from: str
    """What it was made of, for a person; empty if that is not known."""

    def empty(self, *, even_if_just_used: bool = False) -> bool:
        """Delete it, unless it is in use; gives whether it was deleted."""
        if not even_if_just_used and self.kind != LEFTOVERS and time.time() - self.used_at_s < JUST_USED_S:
            return False
        with _lock_of(self.path) as nobody_builds_it, locked(self.path) as nobody_uses_it:
            if not (nobody_builds_it and nobody_uses_it):
                return False
            remove(self.path)
            _lock_file(self.path).unlink(missing_ok=True)
        return not self.path.exists()


def _lock_of(path: Path) -> AbstractContextManager[bool]:
    """The lock under which something is built, if there is one."""
    lock = _lock_file(path)
    return locked(lock) if lock.exists() else nullcontext(True)


def _lock_file(path: Path) -> Path:
    return path.with_name(f".{path.name.removeprefix(PARTIAL)}.lock")


def contents(cache: Path, others: tuple[Path, ...] = ()) -> list[Artefact]:
    """Everything in a cache, and what processes that died left in it and in some other folders; the largest first."""
    found = [*_made(cache), *_left(cache, others)]
    return sorted(found, key=lambda artefact: -artefact.num_bytes)


def _made(cache: Path) -> Iterator[Artefact]:
    for kind, name in FOLDERS.items():
        for path in _visible(cache / name):
            yield _artefact(kind, path, _made_from(kind, path, cache))
    for pattern in SPEEDS:
        for path in cache.glob(pattern):
            yield _artefact("speeds", path, "this machine")


def _made_from(kind: str, path: Path, cache: Path) -> str:
    if kind == "corpora":
        return _files_of(path)
    if kind == "tokens":
        return _files_of(cache / FOLDERS["corpora"] / str(_manifest(path).get("corpus")))
    if kind in ("suffix_arrays", "near_duplicates", "documents"):
        return str(_manifest(path).get("made_from", ""))
    is_model = kind == "models" and path.is_dir()
    names = (path.name, *(child.name for child in path.iterdir() if child.is_dir())) if is_model else ()
    return ", ".join(name.replace("--", "/") for name in names if "--" in name)


def _left(cache: Path, others: tuple[Path, ...]) -> Iterator[Artefact]:
    folders = dict.fromkeys(
        folder.resolve() for folder in (cache, *(cache / name for name in FOLDERS.values()), *others)
    )
    for folder in folders:
        for path in leftovers(folder, PREFIXES):
            yield _artefact(LEFTOVERS, path, "a command that was killed")
    for name in FOLDERS.values():
        for path in leftovers(cache / name, (PARTIAL,)):
            if _lock_file(path).exists() and may_be_in_use(_lock_file(path)):
                continue
            yield _artefact(LEFTOVERS, path, "a command that was killed; the same one goes on with it")


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def _artefact(kind: str, path: Path, made_from: str) -> Artefact:
    sizes = [file.lstat() for file in (path, *(path.rglob("*") if path.is_dir() else ()))]
    # The system notes when a file was read; a folder, which is read to be listed, notes it itself.
    used_at_s = sizes[0].st_mtime if path.is_dir() else max(sizes[0].st_mtime, sizes[0].st_atime)
    return Artefact(kind, path, sum(size.st_size for size in sizes), used_at_s, made_from)


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = read_json(path / MANIFEST, with_names=True)
    except UserError:
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _files_of(corpus: Path) -> str:
    return few_names(file["path"] for file in _manifest(corpus).get("files", []) if file.get("skipped") is None)


def few_names(paths: Iterable[str]) -> str:
    """The names of the first files, and how many more there are."""
    names = [Path(path).name for path in paths]
    more = f" and {len(names) - NUM_NAMED:,} more" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more
