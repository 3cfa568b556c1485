"""The cache of prepared data: private folders named by what is in them, built once, resumed after a crash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gptsmith.base.cache_folder import private_folder
from gptsmith.base.errors import UserError
from gptsmith.base.files import sync_file, sync_folder, writing
from gptsmith.base.json_text import json_text

MANIFEST = "manifest.json"
PARTIAL = ".partial-"
"""Before the name of what is not built to its end."""


def key_of(*parts: Any) -> str:
    """A name of 32 hexadecimal digits that is a pure function of these JSON values."""
    return hashlib.sha256(json_text(parts, sort_keys=True).encode()).hexdigest()[:32]


@contextlib.contextmanager
def built_once(target: Path, is_whole: Callable[[Path], bool]) -> Iterator[Path | None]:
    """A folder to build in, which becomes `target` when the block ends; None if `target` is whole.

    After a crash the next call gets the same folder with what was already in it. A second process waits for the
    first. A `target` that is not whole is built again. After an error for people nothing is left behind.

    Raises:
        DataError: the disk has no room.
    """
    private_folder(target.parent)
    with writing(target), only_builder(target):
        if target.exists() and is_whole(target):
            mark_used(target)
            yield None
            return
        shutil.rmtree(target, ignore_errors=True)
        working = private_folder(target.parent / f"{PARTIAL}{target.name}")
        try:
            yield working
        except (UserError, OSError):
            # Resuming would fail again, and a full disk needs the room.
            shutil.rmtree(working, ignore_errors=True)
            raise
        for path in sorted(working.iterdir()):
            sync_file(path)
        sync_folder(working)
        mark_used(working)
        working.replace(target)
        sync_folder(target.parent)


def mark_used(path: Path) -> None:
    """Note that something in the cache is used now: its time of modification is that of its last use."""
    with contextlib.suppress(OSError):
        os.utime(path)


class Hold:
    """Keeps something in the cache from being deleted, as long as this object lives."""

    def __init__(self, path: Path) -> None:
        with contextlib.suppress(ImportError, OSError):  # where there are no locks, nothing is held
            import fcntl

            descriptor = os.open(path, os.O_RDONLY)
            weakref.finalize(self, os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


@contextlib.contextmanager
def only_builder(target: Path) -> Iterator[None]:
    """Holds a lock beside `target` while it is built, which the system drops if this process dies; others wait."""
    with (target.parent / f".{target.name}.lock").open("ab") as file:
        _wait_for_lock(file)
        yield


def _wait_for_lock(file: BinaryIO) -> None:
    # File systems without locks (some network drives) get none: then two builders merely do the work twice.
    with contextlib.suppress(OSError):
        try:
            import fcntl
        except ImportError:
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            fcntl.flock(file, fcntl.LOCK_EX)


class Journal:
    """The steps of a build that are done, one JSON object per line, each durable before `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[dict[str, Any]]:
        """All whole lines; what a crash tore off is cut away, so that the next line starts afresh."""
        if not self.path.exists():
            return []
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        return [json.loads(line) for line in whole.splitlines()]

    def append(self, *entries: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(json_text(entry).encode() + b"\n" for entry in entries))
            file.flush()
            os.fsync(file.fileno())
