"""Files and folders that are whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.base.errors import UserError
from gptsmith.base.files import (
    PlaceTakenError,
    published_folder,
    read_json,
    readable_bytes,
    require_writable,
    sha256_of,
    write_atomically,
    write_json,
)


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, "é🙂"]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


def test_json_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.json cannot be read: No such file"):
        read_json(tmp_path / "a.json")
    for data in (b'{"a":', b"\xff"):
        (tmp_path / "a.json").write_bytes(data)
        with pytest.raises(UserError, match=r"a\.json is not a JSON file"):
            read_json(tmp_path / "a.json")


def test_a_hash_is_the_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"x" * 100_000).hexdigest()


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "a", b"old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, "no room on the disk of .*free some space"),
        (errno.EDQUOT, "no room on the disk of .*free some space"),
        (errno.EIO, r"cannot be written \(Input/output error\): try again"),
        (errno.EROFS, r"cannot be written \(Read-only file system\): choose another place"),
        (errno.EACCES, r"cannot be written \(Permission denied\): .*change its owner or mode"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
    ],
)
def test_every_problem_of_the_system_is_a_line_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: str
) -> None:
    def fails(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(UserError, match=expected), published_folder(tmp_path / "made") as folder:
        (folder / "a").write_bytes(b"x")
    with pytest.raises(UserError, match=expected):
        write_atomically(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "made"
    with published_folder(target) as folder:
        (folder / "a").write_bytes(b"x")
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["made"]
    assert (target / "a").read_bytes() == b"x"


def test_a_published_folder_is_replaced_only_where_asked(tmp_path: Path) -> None:
    target = tmp_path / "made"
    for content in (b"first", b"second"):
        with published_folder(target, overwrite=True) as folder:
            (folder / "a").write_bytes(content)
    with pytest.raises(PlaceTakenError, match="made by another process just now"), published_folder(target) as folder:
        (folder / "a").write_bytes(b"third")
    assert (target / "a").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (999_600, "1 MB"), (1.5e12, "1.5 TB"), (1e18, "1,000,000 TB")],
)
def test_known_sizes(size: float, text: str) -> None:
    assert readable_bytes(size) == text


@given(st.integers(0, 10**15 - 1))
def test_any_size_is_three_digits_and_a_unit(size: int) -> None:
    text = readable_bytes(size)
    assert re.fullmatch(r"\d{1,3}(\.\d{1,2})? (bytes|[kMGT]B)|1,000 TB", text)
    number, unit = text.split()
    scale = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert float(number.replace(",", "")) * scale == pytest.approx(size, rel=0.006)


needs_modes = pytest.mark.skipif(os.name == "nt", reason="the system has no modes")


@needs_modes
@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o007, 0o660, 0o770), (0o077, 0o600, 0o700)]
)
def test_what_is_for_others_has_the_modes_of_the_umask_and_what_is_private_has_not(
    tmp_path: Path, umask: int, file: int, folder: int
) -> None:
    before = os.umask(umask)
    try:
        with published_folder(tmp_path / "export") as made:
            write_atomically(made / "a", "x")
        with published_folder(tmp_path / "run", private=True) as made:
            write_atomically(made / "a", "x", private=True)
    finally:
        os.umask(before)
    modes = {path.relative_to(tmp_path): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {Path("export"): folder, Path("export/a"): file, Path("run"): 0o700, Path("run/a"): 0o600}


@needs_modes
def test_a_file_that_is_written_again_keeps_its_mode(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "old")
    (tmp_path / "a").chmod(0o640)
    write_atomically(tmp_path / "a", "new")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    write_atomically(tmp_path / "a", "a secret", private=True)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600, "others could read what it held before, not this"


def unwritable(kind: str, folder: Path) -> Path:
    (folder / "file").write_text("x", encoding="utf-8")
    return {
        "below a file": folder / "file" / "made",
        "too long": folder / ("n" * 300),
        "a part too long": folder / ("n" * 300) / "made",
        "in a circle": folder / "circle" / "made",
        "of the kernel": Path("/proc/made"),
    }[kind]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder of the kernel's in which nobody can write")
@pytest.mark.parametrize("kind", ["below a file", "too long", "a part too long", "in a circle", "of the kernel"])
def test_an_output_that_cannot_be_written_is_a_line(tmp_path: Path, kind: str) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    target = unwritable(kind, tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match="cannot be written"), published_folder(target) as folder:
        (folder / "a").write_bytes(b"x")
    with pytest.raises(UserError, match="cannot be written"):
        write_atomically(target, b"x")
    assert sorted(tmp_path.iterdir()) == before


def test_a_place_that_cannot_be_written_is_known_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_writable(tmp_path / "deep" / "made")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="a part of the path is a file"):
        require_writable(tmp_path / "file" / "deep" / "made")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="Permission denied"):
        require_writable(tmp_path / "deep" / "made")
