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
    published_folder,
    read_json,
    readable_bytes,
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
    ("code", "expected"), [(errno.ENOSPC, UserError), (errno.EDQUOT, UserError), (errno.EIO, OSError)]
)
def test_only_a_full_disk_is_called_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[Exception]
) -> None:
    def fails(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(expected) as raised, published_folder(tmp_path / "made") as folder:
        (folder / "a").write_bytes(b"x")
    assert ("no room" in str(raised.value)) == (expected is UserError)
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
    with pytest.raises(OSError), published_folder(target) as folder:
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
