"""Uploads: files that arrive in pieces, and are there when they are whole.

A large file arrives in chunks, each at the offset that the one before ended at; what has arrived is asked for before it
goes on, also by another tab or after a crash. Small files arrive many at a time, in a pack. No file is seen before it
is whole, and what was acknowledged is on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes, require_room, sync_folder, writing
from gptsmith.base.json_reader import parse_json
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.data.collections import Collection
from gptsmith.serve.studio.data.names import stored_path
from gptsmith.serve.studio.database import Database

CHUNK_BYTES = 4_000_000
"""The most of a file, or of a pack, in one request."""
SMALL_BYTES = 200_000
"""Files up to this size arrive in packs."""
MAX_FILE_BYTES = 200_000_000_000
SPARE_BYTES = 200_000_000
"""What an upload leaves free on the disk."""
HEAD_BYTES = 4
MAX_MODIFIED_MS = 2**63 // 1_000_000
NUM_WRITERS = 16


@dataclass(frozen=True)
class GivenFile:
    """A file as a browser describes it.

    Attributes:
        path: relative to what was dropped.
        modified_ms: when it was changed, in milliseconds since 1970.
    """

    path: str
    num_bytes: int
    modified_ms: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "modified_ms", min(max(self.modified_ms, 0), MAX_MODIFIED_MS))


class Uploads:
    """The uploads of a studio."""

    def __init__(self, database: Database) -> None:
        self._database, self._lock = database, threading.Lock()

    def sweep(self, collections: Iterable[Collection]) -> None:
        """Clears away what was being written when a studio was killed, and is not acknowledged."""
        for collection in collections:
            kept = {upload["id"] for upload in self.unfinished(collection)}
            for path in collection.uploading.glob("*"):
                if path.name not in kept:
                    path.unlink()

    def begin(self, collection: Collection, files: Sequence[GivenFile], num_bytes: int) -> list[dict[str, Any]]:
        """Where each of some files goes on. Nothing of one that is there already is sent again.

        Args:
            num_bytes: the bytes of these and of all files that follow.

        Returns:
            of each file its `path` in the collection, the `offset` to go on at, the id of its `upload` (None of one
            that goes into a pack), and whether it `is_whole` already; or the `problem` with it.

        Raises:
            UserError: there is no room for them on the disk.
        """
        _require_own(collection)
        answers = [self._begun(collection, file) for file in files]
        settled = sum(
            file.num_bytes if "problem" in answer else answer["offset"]
            for file, answer in zip(files, answers, strict=True)
        )
        require_room(collection.home, max(num_bytes - settled, 0) + SPARE_BYTES, "the upload")
        return answers

    def _begun(self, collection: Collection, file: GivenFile) -> dict[str, Any]:
        try:
            path = stored_path(file.path)
        except UserError as error:
            return {"problem": str(error)}
        if file.num_bytes > MAX_FILE_BYTES:
            return {"problem": f"it is larger than {readable_bytes(MAX_FILE_BYTES)}: split it up"}
        if _is_whole(collection.sources / path, file):
            return {"path": str(path), "offset": file.num_bytes, "upload": None, "is_whole": True}
        if file.num_bytes <= SMALL_BYTES:
            return {"path": str(path), "offset": 0, "upload": None, "is_whole": False}
        with self._lock:
            upload = self._upload(collection, path, file)
            offset = (collection.uploading / upload).stat().st_size
            if offset == file.num_bytes:  # a studio was killed before it gave the file its name
                try:
                    self._finish(collection, upload, path, file.modified_ms)
                except UserError as error:
                    return {"problem": str(error)}
                return {"path": str(path), "offset": offset, "upload": None, "is_whole": True}
        return {"path": str(path), "offset": offset, "upload": upload, "is_whole": False}

    def _upload(self, collection: Collection, path: PurePosixPath, file: GivenFile) -> str:
        """The id of the upload of a file: the one that was begun before, or a new one."""
        with writing(collection.uploading), self._database.transaction() as connection:
            row = connection.execute(
                "SELECT * FROM uploads WHERE collection = ? AND path = ?", (collection.number, str(path))
            ).fetchone()
            if row is not None:
                temporary = collection.uploading / row["id"]
                if (row["num_bytes"], row["modified_ms"]) == (file.num_bytes, file.modified_ms) and temporary.exists():
                    return str(row["id"])
                temporary.unlink(missing_ok=True)
                connection.execute("DELETE FROM uploads WHERE id = ?", (row["id"],))
            upload = secrets.token_hex(12)
            (collection.uploading / upload).touch(mode=0o600)
            connection.execute(
                "INSERT INTO uploads VALUES (?, ?, ?, ?, ?)",
                (upload, collection.number, str(path), file.num_bytes, file.modified_ms),
            )
            return upload

    def unfinished(self, collection: Collection) -> list[dict[str, Any]]:
        """The large files that are not whole: `id`, `path`, `num_bytes` and the `offset` to go on at."""
        rows = self._database.rows("SELECT * FROM uploads WHERE collection = ? ORDER BY path", collection.number)
        found = []
        for row in rows:
            temporary = collection.uploading / row["id"]
            if temporary.exists():  # else it has become whole just now, or when a studio was killed
                offset = temporary.stat().st_size
                found.append({**{name: row[name] for name in ("id", "path", "num_bytes")}, "offset": offset})
        return found

    def receive(self, collection: Collection, upload: str, offset: int, data: bytes) -> dict[str, Any]:
        """Adds a chunk to a large file; with the last one it is there.

        Returns:
            the `offset` to go on at, and whether it `is_whole`.

        Raises:
            ApiError: there is no such upload, or it goes on at another offset.
            UserError: the disk is full; what arrived before is kept.
        """
        with self._lock:
            row = self._database.row("SELECT * FROM uploads WHERE id = ? AND collection = ?", upload, collection.number)
            temporary = collection.uploading / upload
            if row is None or not temporary.exists():
                raise ApiError(404, "this upload is over, or was never begun: begin it again", code="no_upload")
            size = temporary.stat().st_size
            if offset != size:
                raise ApiError(409, f"{size:,} bytes have arrived, not {offset:,}: begin it again", code="offset")
            if size + len(data) > row["num_bytes"]:
                raise ApiError(400, f"the file is said to have {row['num_bytes']:,} bytes, and has more: add it again")
            with writing(temporary):
                _append(temporary, size, data)
            if is_whole := size + len(data) == row["num_bytes"]:
                self._finish(collection, upload, PurePosixPath(row["path"]), row["modified_ms"])
        return {"offset": size + len(data), "is_whole": is_whole}

    def _finish(self, collection: Collection, upload: str, path: PurePosixPath, modified_ms: int) -> None:
        """Gives a file that has arrived its name."""
        _put(collection.uploading / upload, collection, path, modified_ms)
        with writing(collection.sources):
            sync_folder((collection.sources / path).parent)
        self._forget(upload)

    def cancel(self, collection: Collection, upload: str) -> None:
        """Throws away what has arrived of a large file."""
        with self._lock:
            if any(one["id"] == upload for one in self.unfinished(collection)):
                (collection.uploading / upload).unlink(missing_ok=True)
            self._forget(upload)

    def _forget(self, upload: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM uploads WHERE id = ?", (upload,))

    def delete(self, collection: Collection, files: Iterable[Path]) -> None:
        """Deletes files that were uploaded.

        Raises:
            UserError: they are a person's own.
        """
        _require_own(collection)
        with writing(collection.sources):
            for file in files:
                file.unlink(missing_ok=True)

    def unpack(self, collection: Collection, pack: bytes) -> list[dict[str, Any]]:
        """Puts the small files of a pack into a collection.

        Returns:
            of each its `path` in the collection, or the `problem` with it.

        Raises:
            UserError: it is no pack, or the disk is full; the files before that are there.
        """
        _require_own(collection)
        answers = list[dict[str, Any]]()
        try:
            with ThreadPoolExecutor(NUM_WRITERS) as writers:  # the disk takes many files at once as quickly as one
                given = list(packed_files(pack))
                answers.extend(writers.map(lambda file: self._written(collection, *file), given))
        finally:
            folders = {(collection.sources / answer["path"]).parent for answer in answers if "path" in answer}
            with writing(collection.sources):
                for folder in folders:
                    sync_folder(folder)
        return answers

    def _written(self, collection: Collection, file: GivenFile, data: bytes) -> dict[str, Any]:
        """Puts a file into a collection.

        Raises:
            UserError: the disk is full.
        """
        temporary = collection.uploading / secrets.token_hex(12)
        try:
            path = stored_path(file.path)
            with writing(temporary):
                temporary.touch(mode=0o600)
                _append(temporary, 0, data)
            _put(temporary, collection, path, file.modified_ms)
        except UserError as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error.__context__, OSError) and error.__context__.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            return {"problem": str(error)}
        return {"path": str(path)}


def packed_files(pack: bytes) -> Iterator[tuple[GivenFile, bytes]]:
    """The files of a pack: four bytes say how long its head is (little-endian); the head is a JSON list of
    `[path, num_bytes, modified_ms]`; then come the bytes of the files.

    Raises:
        UserError: it is not of this form.
    """
    try:
        begin = HEAD_BYTES + int.from_bytes(pack[:HEAD_BYTES], "little")
        head = parse_json(pack[HEAD_BYTES:begin].decode("utf-8"))
        files = [GivenFile(str(path), int(num_bytes), int(modified_ms)) for path, num_bytes, modified_ms in head]
    except (ValueError, TypeError, OverflowError):
        raise UserError("this is no pack of files: load the page again") from None
    if any(file.num_bytes < 0 for file in files) or begin + sum(file.num_bytes for file in files) != len(pack):
        raise UserError("this pack of files is not whole: add them again")
    for file in files:
        yield file, pack[begin : begin + file.num_bytes]
        begin += file.num_bytes


def _require_own(collection: Collection) -> None:
    if collection.named is not None:
        raise UserError(f"{collection.name} is a folder of yours ({collection.named}): put files into it yourself")


def _is_whole(path: Path, file: GivenFile) -> bool:
    """Whether a file is there already."""
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns // 1_000_000) == (file.num_bytes, file.modified_ms)


def _append(temporary: Path, size: int, data: bytes) -> None:
    """Adds bytes to a file and makes them durable: all of them, or none."""
    with temporary.open("r+b", buffering=0) as file:
        try:
            file.seek(size)
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(size)
            raise


def _put(temporary: Path, collection: Collection, path: PurePosixPath, modified_ms: int) -> None:
    """Gives a whole file its name in a collection.

    Raises:
        UserError: there is a folder of that name, or one of its folders is a file.
    """
    target = collection.sources / path
    with writing(target):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.utime(temporary, ns=(modified_ms * 1_000_000,) * 2)
        temporary.replace(target)
