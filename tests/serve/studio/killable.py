"""A studio in a process of its own, which can be killed at any moment."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from ..conftest import DEADLINE_S, until
from .conftest import Opened

OFFLINE = (
    "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "ERR_INCOMPLETE_CHUNKED_ENCODING",
    "ERR_SOCKET_NOT_CONNECTED",
)  # fmt: skip
"""What a browser's console says of a studio that is not there."""


class Killable(Opened):
    """A studio in a process of its own, always at the same address. What it says is in a file, so that it never waits
    for a reader."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._given, self._said = folder, folder.with_name(f"{folder.name}-said.txt")
        self.begin()

    def begin(self) -> None:
        """Starts it."""
        words = ["studio", str(self._given), "--port", str(self.port), "--no-open", "--json", "--device", "cpu"]
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gptsmith", *words],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.DEVNULL,
            )
        until(lambda: self._said.read_text().endswith("}\n"), "the studio says where it is")
        told = json.loads(self._said.read_text())
        page = told["address"]
        place = SimpleNamespace(folder=Path(told["folder"]))
        server = SimpleNamespace(page=page, address=page.partition("/#")[0], studio=SimpleNamespace(place=place))
        super().__init__(server)  # type: ignore[arg-type]
        until(self.is_up, "the studio answers")

    def is_up(self) -> bool:
        try:
            return self.ask("GET", "/studio/api/jobs").status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """Ends it at once, as a power cut does; its jobs go on."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=DEADLINE_S)


@contextmanager
def killable(folder: Path) -> Iterator[Killable]:
    """A studio of a folder, of which nothing is left when the block ends."""
    studio = Killable(folder)
    try:
        yield studio
    finally:
        try:
            if studio.is_up():
                for job in studio.get("jobs")["jobs"]:
                    if job["ended"] is None:
                        studio.post("jobs/cancel", id=job["id"], at_once=True)
                until(lambda: all(job["ended"] for job in studio.get("jobs")["jobs"]), "no job is left")
        finally:
            studio.kill()
