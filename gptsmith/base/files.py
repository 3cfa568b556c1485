"""Files that are whole or not there: atomic writes, published folders, hashes, free space."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gptsmith.base.bounded import open_regular, read_bytes
from gptsmith.base.errors import UserError, one_line
from gptsmith.base.json_reader import parse_json
from gptsmith.base.json_text import json_text
from gptsmith.base.leftovers import OLD, TEMPORARY, locked, remove, sweep, temporary_folder, temporary_path

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


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


def write_atomically(path: Path, content: bytes | str, *, private: bool = False) -> None:
    """Writes a file so that a reader, or a crash, sees the old content or the new one, never a part.

    A new file has the mode that the umask says, and an older one keeps its; a `private` one is for its owner alone.

    Raises:
        UserError: it cannot be written.
    """
    # A file's name that is not UTF-8 has halves of surrogate pairs, which JSON spells as `\\udcdf`.
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with writing(path):
        while not _written(temporary := temporary_path(path), path, data, private=private):
            pass  # somebody cleared it away before it was locked
        try:
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _written(temporary: Path, path: Path, data: bytes, *, private: bool) -> bool:
    """Writes a temporary file with the mode of `path`, or with a new one's; gives whether it was there to its end."""
    try:
        temporary.touch(0o600 if private else 0o666, exist_ok=False)
        with temporary.open("r+b") as file, locked(temporary) as is_ours:
            with contextlib.suppress(FileNotFoundError):
                if not private:
                    temporary.chmod(stat.S_IMODE(path.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            return is_ours
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically, indented, so that a person can read it."""
    write_atomically(path, json_text(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, *, with_names: bool = False) -> Any:
    """The content of a JSON file, whoever wrote it: depth, size and numbers are bounded (see `json_reader`), and
    strings are text. NaN and infinities are None.

    Args:
        with_names: whether strings may be names of files that are not UTF-8, which hold such bytes as U+DC80 to U+DCFF.

    Raises:
        UserError: the file is missing, unreadable, not JSON or beyond a bound.
    """
    try:
        text = read_bytes(path).decode("utf-8")
        value = parse_json(text, nan_is_null=True)
        if SURROGATE.search(text) is not None:
            json_text(value, ensure_ascii=False).encode(errors="surrogateescape" if with_names else "strict")
    except UnicodeEncodeError:
        raise UserError(f"{path} has half of a surrogate pair in it, which is no character: remove it") from None
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path} is not a JSON file: {one_line(error)}") from None
    return value


def read_table(path: Path, *, with_names: bool = False) -> dict[str, Any]:
    """The content of a JSON file that holds an object. The argument is as in `read_json`.

    Raises:
        UserError: as `read_json` does, or it holds something else.
    """
    value = read_json(path, with_names=with_names)
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a table of settings")
    return value


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lies_below(name: str) -> bool:
    """Whether a name with slashes, which somebody else may have chosen, is that of a file in a folder, or further down
    in it, on every system."""
    return not any(part in ("", ".", "..") or "\\" in part or ":" in part for part in name.split("/"))


class PlaceTakenError(UserError):
    """Another process made a folder of this name just now."""


@contextlib.contextmanager
def published_folder(target: Path, *, overwrite: bool = False, private: bool = False) -> Iterator[Path]:
    """A fresh folder to fill, which becomes `target` in one step when the block ends, and vanishes if it fails.

    Every file is made durable before the folder gets its name, so `target` is either complete or absent. With
    `overwrite`, an older `target` is set aside at that moment; if the process dies just then, `sweep` brings it back.
    What processes that died left beside `target` is cleared away.

    Args:
        private: whether the folder is for its owner alone; else its mode is what the umask says.

    Raises:
        PlaceTakenError: another process was faster.
        UserError: it cannot be written.
    """
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
        with temporary_folder(target, private=private) as temporary:
            yield temporary
            for path in sorted(temporary.rglob("*")):
                if path.is_file():
                    sync_file(path)
            sync_folder(temporary)
            if overwrite and target.exists():
                with locked(target):
                    old = target.with_name(OLD + target.name)
                    remove(old)
                    target.replace(old)
                    temporary.replace(target)
                    sync_folder(target.parent)
                    remove(old)
                return
            try:
                temporary.replace(target)
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                    raise PlaceTakenError(
                        f"{target} was made by another process just now: choose another --out"
                    ) from None
                raise
            sync_folder(target.parent)


def remove_folder(folder: Path) -> None:
    """Deletes a folder in one step: it loses its name first, so that a crash leaves no part of it under that name."""
    doomed = temporary_path(folder)
    folder.replace(doomed)
    remove(doomed)


ADVICE = {
    errno.EACCES: "choose another place, or change its owner or mode",
    errno.EPERM: "choose another place, or change its owner or mode",
    errno.EROFS: "choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a part of the path is a file: choose another place",
    errno.EISDIR: "choose another name",
    errno.ENOENT: "a folder of the path is not there: make it, or choose another place",
    errno.ELOOP: "its links lead in a circle: choose another place",
    errno.EEXIST: "choose another name",
}
"""What to do where something cannot be written."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an error of the system, while something is written, into a line for a person.

    Raises:
        UserError: the disk is full, or the system does not allow or cannot do it.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(existing_parent(path)).free
            where = existing_parent(path)
            raise UserError(f"no room on the disk of {where} ({readable_bytes(free)} free): free some space") from None
        problem = error.strerror or str(error)
        if error.filename is not None and not _belongs_to(str(error.filename), path):
            raise UserError(f"{error.filename}: {problem}") from None
        advice = ADVICE.get(error.errno or 0, "try again, or choose another place")
        raise UserError(f"{path} cannot be written ({problem}): {advice}") from None


def _belongs_to(name: str, path: Path) -> bool:
    """Whether an error about the file `name` is one about writing `path`: about it, what is in it, or what it is in."""
    return TEMPORARY in name or str(path).startswith(name) or name.startswith(str(path))


def existing_parent(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


def require_writable(path: Path) -> None:
    """Checks before a long job that a file or folder can be made there.

    Raises:
        UserError: it cannot.
    """
    with writing(path):
        parent = existing_parent(path.absolute().parent)
        if not parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def require_room(folder: Path, num_bytes: int, what: str) -> None:
    """Checks before a long job that its result will fit.

    Raises:
        UserError: the disk of `folder` has less than `num_bytes` free.
    """
    free = shutil.disk_usage(existing_parent(folder)).free
    if free < num_bytes:
        raise UserError(
            f"{what} needs {readable_bytes(num_bytes)} in {folder}, and its disk has {readable_bytes(free)} free: "
            "free some space or choose another folder"
        )


def readable_seconds(seconds: float) -> str:
    """`3 min 20 s`: a time for a person."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def readable_bytes(num_bytes: float) -> str:
    """`1.2 MB`: a size for a person, in powers of 1,000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB" if num_bytes < 999.5 else f"{num_bytes:,.0f} TB"
