"""Uploads: whole or not there, resumed at any byte, and nothing acknowledged is lost."""

from __future__ import annotations

import errno
import http.client
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gptsmith.base.errors import UserError
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.data import uploads as module
from gptsmith.serve.studio.data.collections import Collection, Collections
from gptsmith.serve.studio.data.uploads import SMALL_BYTES, GivenFile, Uploads
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.place import Place

from ...conftest import DEADLINE_S
from ..conftest import Opened

WHEN = 1_700_000_000_123
LARGE = random.Random(0).randbytes(SMALL_BYTES + 100)

STUDIO = """
import sys
from gptsmith.serve.studio.request import StudioRequest
from gptsmith.serve.studio.running import StudioServer
server = StudioServer(StudioRequest(folder=sys.argv[1], port=0, device="cpu", no_open=True))
print(server.page, flush=True)
server.run()
"""


class Kept:
    """A folder's collection "texts" and its uploads, without a server."""

    def __init__(self, folder: Path) -> None:
        place = Place(folder)
        self.database = Database(place.database)
        self.collections, self.uploads = Collections(place, self.database), Uploads(self.database)
        self.collection: Collection = next(iter(self.collections), None) or self.collections.make("texts")

    def begin(self, path: str, data: bytes = LARGE, when: int = WHEN) -> dict[str, Any]:
        (answer,) = self.uploads.begin(self.collection, [GivenFile(path, len(data), when)], len(data))
        return answer

    def files(self) -> dict[str, bytes]:
        found = self.collection.sources
        return {str(path.relative_to(found)): path.read_bytes() for path in found.rglob("*") if path.is_file()}


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def pack(*files: tuple[str, bytes]) -> bytes:
    head = json.dumps([[path, len(data), WHEN] for path, data in files]).encode()
    return len(head).to_bytes(4, "little") + head + b"".join(data for _, data in files)


def test_a_large_file_goes_on_where_it_stopped(kept: Kept) -> None:
    offsets = sorted({0, 1, len(LARGE) - 1, *random.Random(1).sample(range(len(LARGE)), 8)})
    for number, stop in enumerate(offsets):
        path = f"{number}.txt"
        begun = kept.begin(path)
        assert (begun["offset"], begun["is_whole"]) == (0, False)
        if stop:
            kept.uploads.receive(kept.collection, begun["upload"], 0, LARGE[:stop])
        with pytest.raises(ApiError) as caught:
            kept.uploads.receive(kept.collection, begun["upload"], stop + 1, b"x")
        assert caught.value.status == 409
        assert path not in kept.files()
        again = kept.begin(path)
        assert (again["upload"], again["offset"]) == (begun["upload"], stop)
        done = kept.uploads.receive(kept.collection, begun["upload"], stop, LARGE[stop:])
        assert done == {"offset": len(LARGE), "is_whole": True}
        assert kept.files()[path] == LARGE
        assert kept.begin(path)["is_whole"]
    assert kept.uploads.unfinished(kept.collection) == []
    assert list(kept.collection.uploading.iterdir()) == []


def test_a_file_whose_name_a_killed_studio_did_not_give_gets_it(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    upload = kept.begin("a.txt")["upload"]
    kept.uploads.unpack(kept.collection, pack(("b.txt", b"b")))
    (kept.collection.uploading / "left of a pack").touch()
    monkeypatch.setattr(module, "_put", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.uploads.receive(kept.collection, upload, 0, LARGE)
    monkeypatch.undo()
    kept.uploads.sweep(kept.collections)
    assert [path.name for path in kept.collection.uploading.iterdir()] == [upload]
    assert kept.begin("a.txt")["is_whole"]
    assert kept.files() == {"a.txt": LARGE, "b.txt": b"b"}


def test_a_file_that_has_changed_begins_anew(kept: Kept) -> None:
    begun = kept.begin("a.txt")
    kept.uploads.receive(kept.collection, begun["upload"], 0, b"old")
    again = kept.begin("a.txt", when=WHEN + 1)
    assert again["upload"] != begun["upload"]
    assert again["offset"] == 0
    assert [one["id"] for one in kept.uploads.unfinished(kept.collection)] == [again["upload"]]
    kept.uploads.cancel(kept.collection, again["upload"])
    assert list(kept.collection.uploading.iterdir()) == []


def test_more_than_was_said_is_refused(kept: Kept) -> None:
    upload = kept.begin("a.txt")["upload"]
    with pytest.raises(ApiError, match="has more"):
        kept.uploads.receive(kept.collection, upload, 0, LARGE + b"x")
    with pytest.raises(ApiError, match="over, or was never begun"):
        kept.uploads.receive(kept.collection, "../../x", 0, b"x")
    assert "larger than" in kept.begin("b.txt", when=0, data=_Huge())["problem"]


class _Huge(bytes):
    def __len__(self) -> int:
        return module.MAX_FILE_BYTES + 1


def test_what_does_not_fit_on_the_disk_is_said_before_it_begins(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE_BYTES", 1 << 60)
    with pytest.raises(UserError, match="the upload needs"):
        kept.begin("a.txt")


def test_a_full_disk_keeps_what_is_whole(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = kept.begin("large.txt")["upload"]
    kept.uploads.receive(kept.collection, upload, 0, LARGE[:1000])
    sync, count = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(module.os, "fsync", full)
    monkeypatch.setattr(module, "NUM_WRITERS", 1)
    with pytest.raises(UserError, match="no room on the disk"):
        kept.uploads.unpack(kept.collection, pack(*((f"{n}.txt", b"%d" % n) for n in range(9))))
    with pytest.raises(UserError, match="no room on the disk"):
        kept.uploads.receive(kept.collection, upload, 1000, LARGE[1000:2000])
    monkeypatch.undo()
    found = kept.files()
    assert found
    assert all(data == name.removesuffix(".txt").encode() for name, data in found.items())
    assert kept.begin("large.txt")["offset"] == 1000
    kept.uploads.receive(kept.collection, upload, 1000, LARGE[1000:])
    assert kept.files()["large.txt"] == LARGE
    assert list(kept.collection.uploading.iterdir()) == []


def test_small_files_come_many_at_a_time(kept: Kept) -> None:
    for first in range(0, 1000, 500):
        files = [(f"folder {n % 7}/{n}.txt", b"text %d" % n) for n in range(first, first + 500)]
        assert all("path" in answer for answer in kept.uploads.unpack(kept.collection, pack(*files)))
    found = kept.files()
    assert len(found) == 1000
    assert found["folder 5/999.txt"] == b"text 999"
    assert kept.begin("folder 5/999.txt", b"text 999")["is_whole"]
    assert not kept.begin("folder 5/999.txt", b"text 998", WHEN + 1)["is_whole"]


def test_one_bad_file_of_a_pack_keeps_no_other_back(kept: Kept) -> None:
    kept.uploads.unpack(kept.collection, pack(("a", b"1")))
    answers = kept.uploads.unpack(kept.collection, pack(("a/b", b"2"), (".c", b"3"), ("d", b"")))
    assert ["problem" in answer for answer in answers] == [True, True, False]
    assert kept.files() == {"a": b"1", "d": b""}
    for bad in (
        b"",
        b"\xff\xff\xff\xff",
        pack(("a", b"1"))[:-1],
        pack(("a", b"1")) + b"x",
        b"\3\0\0\0[1]",
    ):
        with pytest.raises(UserError, match="pack"):
            kept.uploads.unpack(kept.collection, bad)


@pytest.mark.story
def test_a_killed_studio_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """A real studio is killed in the middle of a chunk; the next one goes on."""
    data = random.Random(3).randbytes(9_000_000)
    file = {"path": "a.bin", "num_bytes": len(data), "modified_ms": WHEN}
    acknowledged = 0
    for is_killed in (True, False):
        with subprocess.Popen(
            [sys.executable, "-c", STUDIO, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            try:
                studio = _Remote(process.stdout.readline().strip())
                if is_killed:
                    studio.post("data/make", name="texts")
                (begun,) = studio.post("data/uploads", name="texts", files=[file], num_bytes=len(data))["files"]
                offset = begun["offset"]
                assert offset >= acknowledged
                path = f"/studio/api/data/uploads/{begun['upload']}?name=texts&offset="
                while offset < (3_000_000 if is_killed else len(data)):
                    offset = studio.ask("PUT", f"{path}{offset}", data[offset : offset + 1_000_000]).json["offset"]
                    acknowledged = offset
                if is_killed:
                    studio.send_and_leave(f"{path}{offset}", data[offset : offset + 4_000_000])
            finally:
                os.kill(process.pid, signal.SIGKILL)
    assert acknowledged == len(data)
    (found,) = (tmp_path / ".studio" / "data").rglob("a.bin")
    assert found.read_bytes() == data


class _Remote(Opened):
    """A studio in another process."""

    def __init__(self, page: str) -> None:
        self.address, _, self.token = page.partition("/#token=")

    def send_and_leave(self, path: str, data: bytes) -> None:
        """Sends a request, and does not wait for its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(self.address).port or 0, timeout=DEADLINE_S)
        connection.request("PUT", path, data, {"Authorization": f"Bearer {self.token}"})
        connection.sock.close()
