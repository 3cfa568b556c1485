"""The folder that a studio works in."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json, write_atomically, writing
from gptsmith.base.json_text import json_text

OWN = ".studio"
RUNS = "runs"
TOKEN_BYTES = 24


class Place:
    """The folder that a studio works in, and those outside that it may use.

    runs/                  the run folders, which the terminal reads and writes as well
    .studio/               what is the studio's own, for its owner alone
    .studio/studio.sqlite  its jobs, marks and settings
    .studio/token          what the page says to be let in
    .studio/server.json    the address of the studio that is running
    .studio/data/          collections of uploaded files
    .studio/jobs/          what jobs said
    .studio/.gitignore     keeps all of it out of a person's repository
    """

    def __init__(self, folder: Path, allowed: Sequence[Path] = ()) -> None:
        """
        Raises:
            UserError: the folder cannot be written, or one outside is not there.
        """
        self.folder = Path(os.path.realpath(folder))
        self.runs, self.own = self.folder / RUNS, self.folder / OWN
        self.database, self.data, self.jobs = self.own / "studio.sqlite", self.own / "data", self.own / "jobs"
        self.allowed = [Path(os.path.realpath(path)) for path in allowed]
        for given, path in zip(allowed, self.allowed, strict=True):
            if not path.is_dir():
                raise UserError(f"--allow {given}: there is no such folder")
        self._lock = FileLock(self.own / ".lock")
        with writing(self.folder):
            self.own.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.own.chmod(0o700)  # it may have been copied here, with the modes that the copy gave it
            for made in (self.runs, self.data, self.jobs):
                made.mkdir(mode=0o700, exist_ok=True)
            if not (ignored := self.own / ".gitignore").exists():  # no repository takes up what is private
                write_atomically(ignored, "*\n", private=True)

    def token(self) -> str:
        """What the page says to be let in; the same at every start, so that pages that are open stay so."""
        path = self.own / "token"
        if not path.is_file() or path.stat().st_size < TOKEN_BYTES:  # nobody is let in by an empty one
            write_atomically(path, secrets.token_urlsafe(TOKEN_BYTES), private=True)
        return path.read_text(encoding="ascii").strip()

    def take(self) -> None:
        """Makes this process the only studio of the folder.

        Raises:
            StudioRunsError: another one runs.
        """
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StudioRunsError(self.folder, self.address()) from None

    def address(self) -> str:
        """Where the studio that took the folder last is; empty if that is not known."""
        path = self.own / "server.json"
        return str(read_json(path).get("address", "")) if path.is_file() else ""

    def tell(self, address: str) -> None:
        """Keeps where this studio is."""
        told = {"address": address, "pid": os.getpid()}
        write_atomically(self.own / "server.json", json_text(told), private=True)

    def leave(self) -> None:
        """Lets another studio take the folder."""
        self._lock.release()

    def inside(self, path: str | Path) -> Path:
        """A path that a person named, in the folder or in one that was allowed; links are followed.

        Raises:
            UserError: it is no path, leads elsewhere, or to what is the studio's own.
        """
        if not str(path) or "\0" in str(path):
            raise UserError(f"{str(path)!r} is no path: name a file or a folder")
        found = Path(os.path.realpath(self.folder / path))
        if found.is_relative_to(self.own):
            raise UserError(f"{path} is the studio's own: name a file or a folder of yours")
        if not any(found.is_relative_to(folder) for folder in (self.folder, *self.allowed)):
            raise UserError(f"{path} is outside of {self.folder}: start the studio with --allow FOLDER to use it")
        return found


class StudioRunsError(UserError):
    """A studio of the folder runs already.

    Attributes:
        address: where; empty if that is not known.
    """

    def __init__(self, folder: Path, address: str) -> None:
        super().__init__(f"a studio of {folder} is running{f' at {address}' if address else ''}")
        self.address = address
