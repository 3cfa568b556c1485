"""Temporary files and folders, told apart into those that a process is working on and those that it left when it died.

What is being written is locked by its process, and the system drops the lock when that dies: so whoever gets the lock
may clear it away. The folders that processes write in are noted in the cache while they do, so that a later one finds
what was left, wherever that is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.errors import UserError

TEMPORARY, OLD = ".tmp-gptsmith-", ".old-gptsmith-"
PREFIXES = (TEMPORARY, OLD)
FORMER_PREFIXES = (".tmp-", ".old-")
"""Those of older versions, which other programs may use too."""
NOTES = "written_in"
"""The folder in the cache with a file for each folder that is written in: its path."""
MAX_NAME_CHARACTERS = 40
"""The characters of a target's name in that of its temporary folder, which must not become too long."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock of a file or folder while the block runs; gives whether nobody else has it.

    Where the file system has no locks (some network drives, Windows), everybody gets it, and `may_be_in_use` is true of
    everything.
    """
    descriptor = _lock(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor:
            os.close(descriptor)


def may_be_in_use(path: Path) -> bool:
    """Whether a process may be working on a file or folder."""
    descriptor = _lock(path)
    if descriptor:
        os.close(descriptor)
    return not descriptor


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock; 0 where there are no locks; None if somebody else has it, or it is gone."""
    try:
        import fcntl
    except ImportError:
        return 0
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        return 0
    # Who had the lock before may have deleted it just now.
    if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.lstat()):
        os.close(descriptor)
        return None
    return descriptor


@contextlib.contextmanager
def temporary_folder(target: Path, *, private: bool) -> Iterator[Path]:
    """A fresh, locked folder beside `target`, which is deleted after the block unless it has got another name."""
    while True:
        folder = temporary_path(target)
        folder.mkdir(0o700 if private else 0o777)
        with locked(folder) as is_ours:
            if not is_ours:  # somebody cleared it away before it was locked
                continue
            note = _note(folder.parent)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                _forget(note)
            return


def _note(folder: Path) -> Path:
    """Note that something is written in a folder; where the cache cannot be written, it is not noted."""
    path = os.fsencode(folder.resolve())
    note = default_cache() / NOTES / hashlib.sha256(path).hexdigest()[:32]
    with contextlib.suppress(OSError, UserError):
        private_folder(note.parent)
        note.write_bytes(path)
    return note


def _forget(note: Path) -> None:
    """Delete the note of a folder in which nobody writes any more and nothing was left."""
    with contextlib.suppress(OSError):
        folder = Path(os.fsdecode(note.read_bytes()))
        if not folder.is_dir() or not any(path.name.startswith(PREFIXES) for path in folder.iterdir()):
            note.unlink()


def noted_folders() -> list[Path]:
    """The folders in which processes write, or wrote when they died."""
    found = []
    with contextlib.suppress(OSError):
        for note in sorted((default_cache() / NOTES).iterdir()):
            found.append(Path(os.fsdecode(note.read_bytes())))
    return found


def sweep_noted() -> None:
    """Clear away what processes that died left anywhere."""
    with contextlib.suppress(OSError):
        for note in sorted((default_cache() / NOTES).iterdir()):
            sweep(Path(os.fsdecode(note.read_bytes())))
            _forget(note)


def temporary_path(target: Path) -> Path:
    """A free name beside `target` that says what it is for."""
    return target.with_name(f"{TEMPORARY}{target.name[:MAX_NAME_CHARACTERS]}-{secrets.token_hex(4)}")


def leftovers(folder: Path, prefixes: tuple[str, ...] = PREFIXES) -> list[Path]:
    """What processes that died left in a folder."""
    try:
        found = [path for path in folder.iterdir() if path.name.startswith(prefixes)]
    except OSError:
        return []
    return sorted(path for path in found if not may_be_in_use(path))


def sweep(folder: Path, prefixes: tuple[str, ...] = PREFIXES) -> None:
    """Clear away what processes that died left in a folder. A published folder that was about to be replaced comes back
    where nothing took its place."""
    for path in leftovers(folder, prefixes):
        with locked(path) as is_ours:
            if is_ours:
                _clear(path)


def _clear(path: Path) -> None:
    prefix = next(prefix for prefix in (*PREFIXES, *FORMER_PREFIXES) if path.name.startswith(prefix))
    target = path.with_name(path.name.removeprefix(prefix))
    if prefix.startswith(".old-") and not target.exists():
        with contextlib.suppress(OSError):
            path.replace(target)
    else:
        remove(path)


def remove(path: Path) -> None:
    """Delete a file, a link or a folder, as far as it can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
