"""Files that are whole or not there: atomic writes, published folders, hashes, free space."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.json_text import json_text


def sync_folder(folder: Path) -> None:
    """Makes the entries of a folder durable, where the system can (Windows cannot open a folder)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Makes the content of a file durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes a file so that a reader, or a crash, sees the old content or the new one, never a part."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with no_room_is_a_user_error(path.parent):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically, indented, so that a person can read it."""
    write_atomically(path, json_text(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is not a JSON file: {error}") from None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


TEMPORARY, OLD = ".tmp-", ".old-"


@contextlib.contextmanager
def published_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A fresh folder to fill, which becomes `target` in one step when the block ends, and vanishes if it fails.

    Every file is made durable before the folder gets its name, so `target` is either complete or absent. With
    `overwrite`, an older `target` is set aside at that moment; if the process dies just then, `sweep` brings it back.

    Raises:
        UserError: the disk has no room.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with no_room_is_a_user_error(target.parent):
        temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{target.name}-", dir=target.parent))
        try:
            yield temporary
            for path in sorted(temporary.rglob("*")):
                if path.is_file():
                    sync_file(path)
            sync_folder(temporary)
            old = target.with_name(OLD + target.name)
            if overwrite and target.exists():
                shutil.rmtree(old, ignore_errors=True)
                target.replace(old)
            temporary.replace(target)
            sync_folder(target.parent)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def remove_folder(folder: Path) -> None:
    """Deletes a folder in one step: it loses its name first, so that a crash leaves no part of it under that name."""
    doomed = folder.with_name(f"{TEMPORARY}deleted-{folder.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.replace(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Clears away what a process that died left among the published folders in `folder`.

    Only for a folder that no other process writes to: a temporary folder may be somebody's work.
    """
    for path in list(folder.glob(f"{OLD}*")):
        target = path.with_name(path.name.removeprefix(OLD))
        if target.exists():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.replace(target)
    for path in list(folder.glob(f"{TEMPORARY}*")):
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def no_room_is_a_user_error(folder: Path) -> Iterator[None]:
    """Turns "no space left" into a line for a person.

    Raises:
        UserError: the disk or the quota is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(folder).free
            raise UserError(f"no room on the disk of {folder} ({readable_bytes(free)} free): free some space") from None
        raise


def require_room(folder: Path, num_bytes: int, what: str) -> None:
    """Checks before a long job that its result will fit.

    Raises:
        UserError: the disk of `folder` has less than `num_bytes` free.
    """
    existing = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < num_bytes:
        raise UserError(
            f"{what} needs {readable_bytes(num_bytes)} in {folder}, and its disk has {readable_bytes(free)} free: "
            "free some space or choose another folder"
        )


def readable_bytes(num_bytes: float) -> str:
    """`1.2 MB`: a size for a person, in powers of 1,000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB" if num_bytes < 999.5 else f"{num_bytes:,.0f} TB"
