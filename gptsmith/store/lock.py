"""One writer of what is below a URL: numbered lock objects, of which the highest counts.

A contender creates the next number, which the store lets only one do, and only when the highest one is released or its
owner is dead. So an owner that was taken for dead finds a higher number, and writes nothing more.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from gptsmith.base.documents import Document
from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_seconds
from gptsmith.base.json_reader import parse_json
from gptsmith.base.json_text import json_text
from gptsmith.store.objects import NoObjectError, Store, StoreError

LOCKS = ".lock"
"""The folder of the lock objects."""
NUMBER = re.compile(r"\d{6,}")
HEARTBEAT_S = 20.0
LIMIT_S = 180.0
"""An owner that was not heard of for so long is dead."""
HIDDEN = "hidden"
"""In place of the start of a process that the system shows to its own user alone."""


class LockedError(StoreError):
    """Somebody else writes there."""


class LostLockError(StoreError):
    """Somebody else has taken over: nothing more may be written."""


class OwnerDocument(Document):
    """A lock object."""

    token: str = ""
    user: str = ""
    host: str = ""
    pid: int = 0
    machine: str = ""
    process: str = ""
    since: str = ""
    released: bool = False


WAIT_S = 2.0
_waits: ContextVar[bool] = ContextVar("waits", default=False)


@contextmanager
def waiting_for_locks(is_needed: bool) -> Iterator[None]:
    """Has locks that are taken in the block wait for an owner that may have died, where it is needed: by processes that
    were started again because those before them died, maybe on another machine."""
    token = _waits.set(is_needed)
    try:
        yield
    finally:
        _waits.reset(token)


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        token: differs from that of every other owner.
        machine: the start of a machine, and the space of its process numbers; empty if the system does not say.
        process: the start of the process on it.
        since: the time at which it took the lock.
    """

    token: str
    user: str
    host: str
    pid: int
    machine: str
    process: str
    since: str
    released: bool = False

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        user = ""
        with suppress(OSError, KeyError, ImportError):
            user = getpass.getuser()
        now, pid = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), os.getpid()
        return cls(secrets.token_hex(16), user, socket.gethostname(), pid, _machine(), _start_of(pid), now)

    @classmethod
    def parse(cls, content: bytes, where: str) -> Owner:
        """
        Raises:
            StoreError: it is no lock object.
        """
        try:
            table = parse_json(content.decode("utf-8"))
            return cls(**OwnerDocument.checked(table, Path(where), StoreError))
        except (ValueError, TypeError):
            raise StoreError(f"{where} is no lock of this program: if nobody writes there, delete it") from None

    def content(self) -> bytes:
        """The lock object."""
        return (json_text(asdict(self), indent=2) + "\n").encode()

    @property
    def has_died_here(self) -> bool:
        """Whether it was a process on this machine that is no more."""
        is_here = bool(self.machine) and self.machine == _machine()
        return is_here and _start_of(self.pid) not in (self.process, HIDDEN)

    def __str__(self) -> str:
        who = f"{self.user} on {self.host}" if self.user else self.host
        return f"{who} (process {self.pid}) since {self.since}"


class StoreLock:
    """The right to write below a store's URL.

    Attributes:
        number: that of the lock object, which nobody else ever had; 0 while the lock is not held.
    """

    def __init__(self, store: Store, *, limit_s: float = LIMIT_S, heartbeat_s: float = HEARTBEAT_S) -> None:
        self.store, self.limit_s, self.heartbeat_s = store, limit_s, heartbeat_s
        self.owner = Owner.here()
        self.number = 0

    @contextmanager
    def held(self) -> Iterator[int]:
        """Holds the lock while the block runs, and gives the number that its last owner had, 0 if there was none.

        Raises:
            LockedError: somebody else holds it.
            StoreError: the store cannot be written.
        """
        last = self._acquire_when_free() if _waits.get() else self.acquire()
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(ended,), name="store lock", daemon=True)
        thread.start()
        try:
            yield last
        finally:
            ended.set()
            thread.join()
            self.release()

    def acquire(self) -> int:
        """Takes the lock, and gives the number that its last owner had.

        Raises:
            LockedError: somebody else holds it.
            StoreError: the store cannot be written.
        """
        while True:
            numbers = self.numbers()
            last = numbers[-1] if numbers else 0
            if numbers:
                self._require_free(last)
            created = self.store.create(_name(last + 1), self.owner.content())
            if not created and ((owner := self._owner_of(last + 1)) is None or owner.token != self.owner.token):
                continue  # somebody was faster; not this process, to which the store's first answer was lost
            self.number = last + 1
            if max(self.numbers(), default=0) != self.number:  # of those that were faster, the last one cleared away
                self.store.delete(_name(self.number))
                continue
            for number in numbers:
                self.store.delete(_name(number))
            return last

    def _acquire_when_free(self) -> int:
        """Takes the lock as `acquire` does, once its owner was not heard of for too long. One that lives is noticed."""
        deadline = time.monotonic() + self.limit_s + self.heartbeat_s
        while True:
            try:
                return self.acquire()
            except LockedError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(min(self.heartbeat_s, WAIT_S))

    def require(self) -> None:
        """Checks that this process may still write.

        Raises:
            LostLockError: somebody else has taken over.
            StoreError: the store does not say.
        """
        highest = max(self.numbers(), default=0)
        found = self._owner_of(highest) if highest else None
        if highest == self.number and found is not None and found.token == self.owner.token:
            return
        who = f"is now written by {found}" if found else "has lost its lock"
        raise LostLockError(f"{self.store.url} {who}: this process writes nothing more there")

    def release(self) -> None:
        """Lets the next one in, as far as the store can be reached."""
        with suppress(UserError):
            self.require()
            self.store.write(_name(self.number), replace(self.owner, released=True).content())

    def beat(self) -> None:
        """Says that this process lives.

        Raises:
            LostLockError: somebody else has taken over.
            StoreError: the store cannot be written.
        """
        self.require()
        self.store.write(_name(self.number), self.owner.content())

    def numbers(self) -> list[int]:
        """The numbers of all lock objects, the lowest first."""
        found = (name.rsplit("/", 1)[-1] for name in self.store.names(LOCKS))
        return sorted(int(name) for name in found if NUMBER.fullmatch(name))

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(self.heartbeat_s):
            with suppress(StoreError):  # whoever writes next hears of it
                self.beat()

    def _require_free(self, number: int) -> None:
        try:
            owner, age_s = self._owner_of(number), self._age_s(number)
        except NoObjectError:  # the next one has cleared it away
            return
        if owner is None or owner.released:
            return
        if owner.has_died_here or age_s > self.limit_s:
            return
        raise LockedError(
            f"{self.store.url} is being written by {owner}, heard of {readable_seconds(max(age_s, 0))} ago: wait for "
            f"it, or stop it; if it has died, try again in {readable_seconds(self.limit_s - age_s)}"
        )

    def _owner_of(self, number: int) -> Owner | None:
        """The owner that a lock object names; None if the object has vanished."""
        try:
            return Owner.parse(self.store.read(_name(number)), f"{self.store.url}/{_name(number)}")
        except NoObjectError:
            return None

    def _age_s(self, number: int) -> float:
        """The seconds since a lock object was written, by the store's clock alone, because others may be wrong."""
        clock = f"{LOCKS}/clock-{self.owner.token}"
        self.store.write(clock, b"")
        try:
            return self.store.modified_s(clock) - self.store.modified_s(_name(number))
        finally:
            self.store.delete(clock)


def _name(number: int) -> str:
    return f"{LOCKS}/{number:06d}"


def _machine() -> str:
    """The start of this machine and the space of its process numbers; empty if the system does not say."""
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{start}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """The start of a process on this machine, in ticks of its clock; empty if there is no such process, and HIDDEN if
    the system keeps it from this user."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[-1].split()
    except OSError:
        return HIDDEN if sys.platform == "linux" and _exists(pid) else ""
    return "" if state[0] == "Z" else state[19]


def _exists(pid: int) -> bool:
    """Whether there is a process of that number, of whichever user."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
