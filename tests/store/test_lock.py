"""One writer: who comes second is refused, who is dead is followed, and who was taken for dead writes nothing more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gptsmith.store.lock import LOCKS, LockedError, LostLockError, Owner, StoreLock, waiting_for_locks
from gptsmith.store.objects import Store, StoreError


def test_the_second_is_told_who_is_first(store: Store) -> None:
    with StoreLock(store).held() as last:
        assert last == 0
        with pytest.raises(LockedError) as refused, StoreLock(store).held():
            pass
    line = str(refused.value)
    owner = Owner.here()
    assert line.startswith(f"{store.url} is being written by ")
    assert f"{owner.host} (process {owner.pid}) since 2" in line
    assert "wait for it, or stop it; if it has died, try again in " in line


def test_a_lock_that_is_released_is_free_and_has_the_next_number(store: Store) -> None:
    for number in (1, 2, 3):
        lock = StoreLock(store)
        with lock.held() as last:
            assert (last, lock.number) == (number - 1, number)
            lock.require()
        assert store.names(LOCKS) == [f"{LOCKS}/{number:06d}"]


def test_who_was_started_again_waits_until_the_owner_is_dead(store: Store) -> None:
    """An owner on another machine: nothing but its silence says that it has died."""
    old, new = StoreLock(store), StoreLock(store, limit_s=1.5)
    old.owner = replace(Owner.here(), machine="another")
    old.acquire()
    with pytest.raises(LockedError), StoreLock(store).held():
        pass
    with waiting_for_locks(True), new.held() as last:
        assert last == 1


def test_nobody_waits_for_ever_for_one_that_lives() -> None:
    store = Store(f"memory://{uuid.uuid4().hex}/mine")
    old, new = (StoreLock(store, limit_s=2, heartbeat_s=0.05) for _ in range(2))
    with old.held(), waiting_for_locks(True), pytest.raises(LockedError), new.held():
        pass


def test_of_many_at_once_one_gets_it(served: Store) -> None:
    def take(_: int) -> bool:
        try:
            StoreLock(Store(served.url)).acquire()
        except LockedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 1


def test_a_lock_that_the_store_made_without_saying_so_is_held(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer was lost, and the library's second request found the object."""
    create = Store.create
    monkeypatch.setattr(Store, "create", lambda *arguments: create(*arguments) and False)
    lock = StoreLock(store)
    assert lock.acquire() == 0
    lock.require()
    with pytest.raises(LockedError):
        StoreLock(store).acquire()


def test_who_was_not_heard_of_for_long_is_followed_and_writes_nothing_more(store: Store) -> None:
    old = StoreLock(store)
    old.acquire()
    new = StoreLock(store, limit_s=-1)
    assert new.acquire() == 1
    assert new.number == 2
    new.require()
    then = store.read(f"{LOCKS}/000002")
    for act in (old.require, old.beat):
        with pytest.raises(LostLockError, match=r"is now written by .*: this process writes nothing more there"):
            act()
    old.release()
    assert store.names(LOCKS) == [f"{LOCKS}/000002"]
    assert store.read(f"{LOCKS}/000002") == then


def test_a_store_that_lets_two_create_one_object_tells_the_first_of_the_second(store: Store) -> None:
    first, second = StoreLock(store), StoreLock(store)
    first.acquire()
    store.write(f"{LOCKS}/000001", second.owner.content())
    with pytest.raises(LostLockError):
        first.require()


def test_a_heartbeat_keeps_it(store: Store) -> None:
    lock = StoreLock(store)
    lock.acquire()
    before = store.modified_s(f"{LOCKS}/000001")
    lock.beat()
    assert store.modified_s(f"{LOCKS}/000001") >= before
    assert json.loads(store.read(f"{LOCKS}/000001"))["token"] == lock.owner.token


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say which processes run")
def test_a_process_that_died_on_this_machine_is_followed_at_once(store: Store) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(Owner.here(), pid=process.pid, process=_start_of(process.pid))
    store.write(f"{LOCKS}/000007", owner.content())
    with pytest.raises(LockedError):
        StoreLock(store).acquire()
    process.communicate(b"\n")
    assert StoreLock(store).acquire() == 7


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say which processes run")
def test_a_process_that_the_system_hides_is_not_taken_for_dead(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    StoreLock(store).acquire()  # by this process, whose /proc/PID is hidden from now on, as another user's may be
    read = Path.read_text
    mine = f"/proc/{os.getpid()}/stat"

    def hidden(self: Path, *arguments: Any, **options: Any) -> str:
        if str(self) == mine:
            raise FileNotFoundError
        return read(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", hidden)
    with pytest.raises(LockedError):
        StoreLock(store).acquire()


def test_an_owner_whose_lock_was_taken_away_writes_nothing_more(store: Store) -> None:
    lock = StoreLock(store)
    lock.acquire()
    listed = lock.numbers()
    lock.numbers = lambda: listed  # type: ignore[method-assign]  # as it was just before
    store.delete(f"{LOCKS}/000001")
    with pytest.raises(LostLockError, match="has lost its lock"):
        lock.beat()
    assert store.names(LOCKS) == []


def test_a_process_of_another_machine_is_not_taken_for_dead(store: Store) -> None:
    owner = replace(Owner.here(), pid=2**22 + 1, machine="another", process="1")
    store.write(f"{LOCKS}/000001", owner.content())
    with pytest.raises(LockedError):
        StoreLock(store).acquire()


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"pid": "x"}', b'{"odd": 1}'])
def test_a_lock_that_is_none_is_named(store: Store, content: bytes) -> None:
    store.write(f"{LOCKS}/000001", content)
    with pytest.raises(StoreError, match=r"\.lock/000001"):
        StoreLock(store).acquire()


def _start_of(pid: int) -> str:
    from gptsmith.store import lock

    return lock._start_of(pid)
