"""Files that somebody else may have written: opened only if they are files, and read within bounds."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.base.json_reader import MAX_BYTES

BLOCK_BYTES = 1 << 20


def open_regular(path: Path) -> BufferedReader:
    """A file, open for its bytes. A device or a pipe, which could be read without end or never answer, is refused
    before it is waited for.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:  # a zero byte in the name
        raise OSError(errno.EINVAL, "no name of a file", str(path)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file.

    Raises:
        UserError: it cannot be read, is no regular file, or has more bytes than allowed.
    """
    try:
        with open_regular(path) as file:
            content = bytearray()
            # Reading up to the bound at once would take memory for all of it beforehand.
            while len(content) <= max_bytes and (block := file.read(min(BLOCK_BYTES, max_bytes + 1 - len(content)))):
                content += block
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > max_bytes:
        raise UserError(f"{path} has more than {max_bytes:,} bytes, the most for such a file")
    return bytes(content)


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file, its line ends as \\n.

    Raises:
        UserError: it cannot be read, is no regular file, has more bytes than allowed, or is not UTF-8.
    """
    try:
        return read_bytes(path, max_bytes).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start:,}") from None
