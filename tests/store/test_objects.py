"""Objects in a store: the same face over memory and over S3, and lines for people where a store refuses."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gptsmith.base.errors import MissingExtraError
from gptsmith.store.objects import NoObjectError, Store, StoreError, is_remote


@pytest.mark.parametrize("path", ["s3://bucket/mine", "gs://b", "memory://x/y", "S3://b", "https://x.org/a"])
def test_urls_are_remote(path: str) -> None:
    assert is_remote(path)


@pytest.mark.parametrize("path", ["runs/mine", "hf:owner/name", "/s3:/bucket", "C:\\texts", "a:b", Path("s3:/b")])
def test_paths_are_not(path: object) -> None:
    assert not is_remote(path)


def test_an_object_comes_back(store: Store, tmp_path: Path) -> None:
    store.write("a/b.txt", b"one")
    store.write("a/b.txt", b"two")
    assert store.read("a/b.txt") == b"two"
    (tmp_path / "file").write_bytes(b"\x00\xff" * 1000)
    store.upload(tmp_path / "file", "a/c/file")
    store.download("a/c/file", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"\x00\xff" * 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "file"]
    assert store.names() == ["a/b.txt", "a/c/file"]
    assert store.names("a/c") == ["a/c/file"]
    assert store.at("a").names() == ["b.txt", "c/file"]
    assert store.folders() == ["a"]
    assert store.names("b") == []
    store.delete("a/b.txt")
    store.delete("a/b.txt")
    assert store.names() == ["a/c/file"]
    assert store.at("nowhere").folders() == []


def test_what_others_write_is_seen_at_once(store: Store) -> None:
    other = Store(store.url)
    assert store.names() == []
    other.write("a", b"")
    assert store.names() == ["a"]


def test_where_credentials_were_found_is_not_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert Store(store.url).names() == []
    assert not [record for record in caplog.records if "botocore" in record.name]


def test_only_one_creates(store: Store) -> None:
    assert store.create("lock", b"0")
    assert not store.create("lock", b"1")
    assert store.read("lock") == b"0"
    if store.scheme != "memory":  # which decides in one step only within one thread
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(lambda n: Store(store.url).create("race", str(n).encode()), range(8))) == 1


def test_the_mark_of_an_empty_folder_is_no_object(served: Store) -> None:
    """As the pages of the stores make them."""
    served.write("a", b"")
    for mark in ("", "/b"):
        served._files.pipe_file(f"{served._root}{mark}/", b"")
    assert served.names() == ["a"]
    assert served.folders() == ["b"]


def test_an_object_that_is_missing_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NoObjectError, match=r"/x/y: there is no such object"):
        store.read("x/y")
    with pytest.raises(NoObjectError, match=r"/x/y: there is no such object"):
        store.download("x/y", tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_is_missing_is_named(served: Store, tmp_path: Path) -> None:
    store = Store(f"{served.scheme}://elsewhere/mine")
    (tmp_path / "file").touch()
    for act in (
        lambda: store.read("a"),
        lambda: store.write("a", b""),
        lambda: store.create("a", b""),
        store.names,
        store.folders,
        lambda: store.upload(tmp_path / "file", "a"),
    ):
        with pytest.raises(NoObjectError, match="there is no bucket elsewhere: make it, or check its name"):
            act()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", r"'ftp://host/x' is in no store that is known: give a URL of s3:// or gs://"),
        ("az://account/x", r"'az://account/x' is in no store that is known: give a URL of s3:// or gs://"),
        ("gcs://bucket/x", r"'gcs://bucket/x' is in no store that is known: write gs://"),
        ("s3a://bucket/x", r"write s3://"),
        ("file:///folder/x", r"'file:///folder/x' is a path here: write it without file://"),
        ("https://x.org/a", r"'https://x.org/a' is on the web, .*: download it first and give its path, or give a URL"),
        ("runs/mine", r"'runs/mine' is in no store"),
        ("s3://", r"names no bucket: write s3://BUCKET/NAME"),
    ],
)
def test_a_url_of_no_store_is_refused(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        Store(url)


def test_no_server_is_one_line(monkeypatch: pytest.MonkeyPatch, silent_address: str, bucket: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", silent_address)
    with pytest.raises(StoreError, match=r"s3://x/a: the store does not answer .*AWS_ENDPOINT_URL"):
        Store("s3://x").read("a")


def test_no_credentials_is_one_line(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match=r"there are no credentials for the store \(Unable.*\): .*AWS_ACCESS_KEY_ID"):
        Store("s3://x").read("a")


@pytest.mark.parametrize(("module", "scheme", "extra"), [("s3fs", "s3", "store"), ("gcsfs.core", "gs", "gs")])
def test_a_library_that_is_missing_is_named(
    module: str, scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"{scheme}:// needs .*: pip install 'gptsmith\[{extra}\]'"):
        Store(f"{scheme}://bucket").names()
