"""Source files as plain bytes: `.gz` and `.zst` are decompressed while they are read."""

from __future__ import annotations

import gzip
import io
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from gptsmith.base.errors import DataError, MissingExtraError, UserError
from gptsmith.base.files import readable_bytes

COMPRESSIONS = (".gz", ".zst")
LIBRARIES = {".zst": {"zstandard": "zstandard"}}
"""The libraries that unpack a compression, as in `Reader.libraries`."""

# A few bytes of either format can stand for many: small chunks bound what one step unpacks. A block of Zstandard, of
# some ten bytes, can stand for 128 kB.
COMPRESSED_CHUNK_BYTES = 1 << 13
ZSTD_STEP_BYTES = 1 << 9

# Large public text collections are packed with `zstd --long=31`, which the library refuses by default.
LARGEST_ZSTD_WINDOW_BYTES = 1 << 31

SPOOLED_IN_MEMORY_BYTES = 1 << 26

# Text shrinks to a tenth, logs to a hundredth of their size; up to the free size, any ratio is harmless.
MAX_EXPANSION = 200
FREE_EXPANSION_BYTES = 100_000_000


class Expansion:
    """Counts the bytes that a file of `num_bytes` unpacks to, and refuses those of a file made to fill the disk."""

    def __init__(self, path: Path, num_bytes: int, max_expansion: int) -> None:
        self.path, self.num_bytes, self.max_expansion = path, num_bytes, max_expansion
        self.unpacked = 0

    def add(self, num_bytes: int) -> None:
        """Count some bytes more.

        Raises:
            DataError: they are too many.
        """
        self.unpacked += num_bytes
        if self.unpacked > max(FREE_EXPANSION_BYTES, self.max_expansion * self.num_bytes):
            raise DataError(
                f"{self.path} expands to over {readable_bytes(self.unpacked)}, more than {self.max_expansion} times "
                f"its {readable_bytes(self.num_bytes)}: leave it out, or raise the bound with "
                "--set data.max_expansion=NUMBER"
            )


def extension_of(path: Path) -> str:
    """The extension that says what is in a file: `.jsonl` for `News.JSONL.gz`, empty if there is none."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return inner.suffix.lower()


def open_decompressed(path: Path, max_expansion: int = MAX_EXPANSION) -> BinaryIO:
    """The bytes of a file, decompressed if its name ends in `.gz` or `.zst`. A plain file can be sought in.

    Raises:
        DataError: the file cannot be opened; while reading, that its compressed stream is damaged, cut off or expands
            to more than `max_expansion` times the size of the file.
        MissingExtraError: a `.zst` file without the library that reads it.
    """
    compression = path.suffix.lower()
    unpack = {".gz": gunzipped, ".zst": unzstandarded}.get(compression)
    if compression == ".zst":
        require_zstandard(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if unpack is None:
        return file
    expansion = Expansion(path, path.stat().st_size, max_expansion)
    return cast(BinaryIO, io.BufferedReader(Decompressed(expansion, file, unpack(file))))


@contextmanager
def seekable(stream: BinaryIO) -> Iterator[BinaryIO]:
    """The same bytes in a stream that can be sought in: `stream` itself, or a temporary copy of it."""
    with stream:
        if stream.seekable():
            yield stream
            return
        with tempfile.SpooledTemporaryFile(max_size=SPOOLED_IN_MEMORY_BYTES) as copy:
            shutil.copyfileobj(stream, copy)
            copy.seek(0)
            yield cast(BinaryIO, copy)


def size_of(stream: BinaryIO) -> int:
    """The number of bytes in a stream that can be sought in; its position goes back to the start."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return size


class Decompressed(io.RawIOBase):
    """The bytes that `chunks` unpacks from `file`. A damaged stream is a `UserError`."""

    def __init__(self, expansion: Expansion, file: BinaryIO, chunks: Iterator[bytes]) -> None:
        self.expansion, self.path, self.file, self.chunks = expansion, expansion.path, file, chunks
        self.chunk = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]  # the type is new in Python 3.12
        while not self.chunk:
            try:
                self.chunk = memoryview(next(self.chunks))
                self.expansion.add(len(self.chunk))
            except StopIteration:
                return 0
            except UserError:
                raise
            except EOFError:
                raise DataError(f"{self.path} is cut off: copy or download it again") from None
            except (gzip.BadGzipFile, zlib.error, ValueError) as error:
                kind = self.path.suffix.lower()
                raise DataError(
                    f"{self.path} is not a sound {kind} file ({error}): copy or download it again"
                ) from None
        num_bytes = min(len(buffer), len(self.chunk))
        buffer[:num_bytes] = self.chunk[:num_bytes]
        self.chunk = self.chunk[num_bytes:]
        return num_bytes

    def close(self) -> None:
        self.file.close()
        super().close()


def gunzipped(file: BinaryIO) -> Iterator[bytes]:
    """The chunks of a gzip stream, unpacked.

    Raises:
        EOFError: the stream is cut off.
        BadGzipFile, zlib.error: it is damaged.
    """
    with gzip.GzipFile(fileobj=file) as stream:
        while chunk := stream.read1(COMPRESSED_CHUNK_BYTES):
            yield chunk


def unzstandarded(file: BinaryIO) -> Iterator[bytes]:
    """The chunks of a Zstandard stream of any number of frames, unpacked.

    Raises:
        EOFError: the stream is cut off, which the library's own stream reader takes for its end.
        ValueError: it is damaged.
    """
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=LARGEST_ZSTD_WINDOW_BYTES)
    frame = None
    while packed := file.read(ZSTD_STEP_BYTES):
        while packed:
            if frame is None or frame.eof:
                frame = decompressor.decompressobj()
            try:
                yield frame.decompress(packed)
            except zstandard.ZstdError as error:
                raise ValueError(error) from None
            packed = frame.unused_data if frame.eof else b""
    if frame is not None and not frame.eof:
        raise EOFError


def require_zstandard(path: Path) -> None:
    """Checks that `.zst` files can be read.

    Raises:
        MissingExtraError: they cannot.
    """
    try:
        import zstandard  # noqa: F401
    except ImportError:
        raise MissingExtraError(f"{path}: reading .zst files", "zstandard") from None
