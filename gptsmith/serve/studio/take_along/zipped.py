"""A folder as one file, made while it is sent: never whole in memory, nor on the disk."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

PART_BYTES = 1 << 20


class _Sent:
    """What was written since it was taken last."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def zipped(folder: Path) -> Iterator[bytes]:
    """The parts of a ZIP archive of a folder's files, not compressed, because weights hardly shrink. Links, locks and
    what is being written are left out."""
    sent = _Sent()
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if any(part.startswith(".") for part in inside.parts) or not stat.S_ISREG(path.lstat().st_mode):
                continue
            entry = zipfile.ZipInfo.from_file(path, f"{folder.name}/{inside.as_posix()}", strict_timestamps=False)
            with path.open("rb") as file, archive.open(entry, "w", force_zip64=True) as written:
                while part := file.read(PART_BYTES):
                    written.write(part)
                    yield sent.take()
            yield sent.take()
    yield sent.take()


def read(path: Path) -> Iterator[bytes]:
    """The parts of a file."""
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part
