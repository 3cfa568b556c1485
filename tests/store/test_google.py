"""Google Cloud Storage: its conditional writes, and lines for people where it refuses."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from gptsmith.store.lock import LOCKS, StoreLock
from gptsmith.store.objects import Store, StoreError
from tests.google_store import BUCKET, PAGE, GoogleServer

KEYS = "GOOGLE_APPLICATION_CREDENTIALS"
LARGE = bytes(range(256)) * (24 << 10)
"""6 MiB, which are uploaded in parts."""


@pytest.fixture
def store(google: GoogleServer) -> Store:
    return Store(f"gs://{BUCKET}/{uuid.uuid4().hex}")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """gcsfs waits a second, two, four, ... between its tries: here it does not."""

    async def at_once(_: float) -> None:
        pass

    monkeypatch.setattr("gcsfs.retry.asyncio", SimpleNamespace(sleep=at_once))


@pytest.fixture
def refusing(google: GoogleServer) -> Iterator[GoogleServer]:
    yield google
    google.refused = 0


def test_a_lock_whose_creation_was_not_answered_is_held(store: Store, google: GoogleServer, impatient: None) -> None:
    """The library asks again, and is told that the object is there."""
    google.lost_answers = 1
    lock = StoreLock(store)
    assert lock.acquire() == 0
    lock.require()
    assert store.names() == [f"{LOCKS}/000001"]


def test_a_listing_of_several_pages_is_whole(store: Store) -> None:
    wanted = [f"a/{number:03d}/b" for number in range(2 * PAGE + 1)]
    for name in wanted:
        store.write(name, b"")
    assert store.names() == wanted
    assert store.at("a").folders() == [name.split("/")[1] for name in wanted]


def test_a_large_file_comes_back(store: Store, tmp_path: Path) -> None:
    """In a resumable upload, which smaller ones are not."""
    (tmp_path / "file").write_bytes(LARGE)
    store.upload(tmp_path / "file", "a/file")
    store.download("a/file", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == LARGE == store.read("a/file")


@pytest.mark.parametrize("content", [b"weights", LARGE], ids=["small", "large"])
def test_a_file_that_arrives_damaged_is_an_error(
    store: Store, google: GoogleServer, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(content)
    google.damages = 1
    with pytest.raises(StoreError, match=r"a/file: the store fails \(ChecksumError: MD5"):
        store.upload(tmp_path / "file", "a/file")
    store.upload(tmp_path / "file", "a/file")
    assert store.read("a/file") == content


@pytest.mark.parametrize(
    ("status", "words"), [(401, "smith.*does not have access"), (403, "Forbidden: .*does not have access")]
)
def test_a_refusal_is_one_line(
    store: Store, refusing: GoogleServer, status: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    refusing.refused = status
    for act in (lambda: store.read("a"), lambda: store.create("a", b""), store.names, store.folders):
        with pytest.raises(StoreError, match=rf"the store refuses \({words}.*{KEYS}"):
            act()
    assert not [record for record in caplog.records if record.name.startswith("gcsfs")], "tracebacks"


@pytest.mark.parametrize(("key", "why"), [(None, "default credentials were not found"), ("nowhere", "nowhere was not")])
def test_no_credentials_is_one_line(
    key: str | None, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv(KEYS, "" if key is None else str(tmp_path / key))
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)  # else a network is asked
    with caplog.at_level(logging.WARNING), pytest.raises(StoreError) as refused:
        Store("gs://x").names()
    line = str(refused.value)
    assert re.search(rf"there are no credentials for the store \(.*{why}.*\): .*{KEYS}", line)
    assert "\n" not in line
    assert not [record for record in caplog.records if record.name.startswith("google")]


def test_no_server_is_one_line(monkeypatch: pytest.MonkeyPatch, silent_address: str, impatient: None) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", silent_address)
    with pytest.raises(StoreError, match=r"gs://x/a: the store does not answer .*check the network"):
        Store("gs://x").read("a")
