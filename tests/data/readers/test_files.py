"""Compressed and plain files give the same bytes, and say by name what is wrong with them."""

import gzip
import sys
import tracemalloc
from pathlib import Path

import pytest

from gptsmith.base.errors import MissingExtraError, UserError
from gptsmith.data import files

zstandard = pytest.importorskip("zstandard")

# Longer than any piece that is read or unpacked at once, and not too regular.
CONTENT = b"".join(b"%d squared is %d\n" % (number, number**2) for number in range(20_000))


def packed(path: Path, content: bytes) -> bytes:
    if path.suffix == ".gz":
        return gzip.compress(content)
    return zstandard.compress(content) if path.suffix == ".zst" else content


@pytest.fixture(params=["a.txt", "a.txt.gz", "a.txt.zst"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


@pytest.fixture(params=["a.txt.gz", "a.txt.zst"])
def packed_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("News.JSONL.gz", ".jsonl"),
        ("news.txt.ZST", ".txt"),
        ("page.HTML", ".html"),
        ("archive.tar.bz2", ".bz2"),
        ("folder.d/README", ""),
        ("README.gz", ""),
    ],
)
def test_extension_is_that_of_what_is_inside(name: str, extension: str) -> None:
    assert files.extension_of(Path(name)) == extension


@pytest.mark.parametrize("content", [b"", b"a", CONTENT])
def test_bytes_come_back(path: Path, content: bytes) -> None:
    path.write_bytes(packed(path, content))
    with files.open_decompressed(path) as stream:
        assert stream.read() == content


def test_bytes_come_back_in_small_reads(path: Path) -> None:
    path.write_bytes(packed(path, CONTENT))
    with files.open_decompressed(path) as stream:
        assert b"".join(iter(lambda: stream.read(7777), b"")) == CONTENT


def test_streams_that_follow_each_other_are_one(packed_path: Path) -> None:
    packed_path.write_bytes(packed(packed_path, b"one ") + packed(packed_path, b"two"))
    with files.open_decompressed(packed_path) as stream:
        assert stream.read() == b"one two"


def test_large_zstandard_window_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.zst"
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    path.write_bytes(compressor.compress(CONTENT) + compressor.flush())
    with files.open_decompressed(path) as stream:
        assert stream.read() == CONTENT


def test_one_step_unpacks_little(packed_path: Path) -> None:
    packed_path.write_bytes(packed(packed_path, bytes(90_000_000)))
    tracemalloc.start()
    with files.open_decompressed(packed_path) as stream:
        while stream.read(1 << 16):
            pass
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 40_000_000


def test_the_bound_of_what_a_stream_unpacks_to_is_said(packed_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FREE_EXPANSION_BYTES", 1_000_000)
    packed_path.write_bytes(packed(packed_path, bytes(2_000_000)))
    with (
        files.open_decompressed(packed_path, 10) as stream,
        pytest.raises(UserError, match="leave it out, or raise the bound"),
    ):
        stream.read()


def test_cut_off_stream_is_named(packed_path: Path) -> None:
    packed_path.write_bytes(packed(packed_path, CONTENT)[:-20])
    with files.open_decompressed(packed_path) as stream, pytest.raises(UserError, match="cut off") as caught:
        stream.read()
    assert str(packed_path) in str(caught.value)


def test_damaged_stream_is_named(packed_path: Path) -> None:
    whole = bytearray(packed(packed_path, CONTENT))
    middle = len(whole) // 2
    whole[middle : middle + 40] = bytes(40)
    packed_path.write_bytes(whole)
    with files.open_decompressed(packed_path) as stream, pytest.raises(UserError, match="not a sound") as caught:
        stream.read()
    assert str(packed_path) in str(caught.value)


def test_file_that_is_not_compressed_is_named(packed_path: Path) -> None:
    packed_path.write_bytes(b"plain text")
    with files.open_decompressed(packed_path) as stream, pytest.raises(UserError, match=r"a\.txt"):
        stream.read()


def test_missing_file_is_named(path: Path) -> None:
    with pytest.raises(UserError, match=f"{path.name} cannot be read"):
        files.open_decompressed(path)


def test_a_missing_zstandard_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingExtraError, match=r"pip install zstandard$"):
        files.open_decompressed(tmp_path / "a.zst")


def test_closing_closes_the_file(path: Path) -> None:
    path.write_bytes(packed(path, CONTENT))
    stream = files.open_decompressed(path)
    stream.read(10)
    stream.close()
    assert stream.closed
    path.unlink()  # an open file would warn when it is collected, and warnings are errors


def test_seekable_gives_the_same_bytes(path: Path) -> None:
    path.write_bytes(packed(path, CONTENT))
    with files.seekable(files.open_decompressed(path)) as stream:
        assert files.size_of(stream) == len(CONTENT)
        stream.seek(-5, 2)
        assert stream.read() == CONTENT[-5:]
        stream.seek(0)
        assert stream.read() == CONTENT
