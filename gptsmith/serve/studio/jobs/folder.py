"""The folder of a job: what its child keeps there, and how the job stands by that."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json, read_table, write_json

MAX_OUT_BYTES, MAX_ERR_BYTES = 8_000_000, 256_000
"""How much of what a job says is kept, from its end."""
RETRY_S = 0.02


class Standing(Enum):
    """How a job stands, by its folder alone."""

    NEW = "no child has begun"
    RUNNING = "a child holds the lock"
    ENDED = "its exit is written"
    KILLED = "it had begun, and nothing of it is left"


class JobFolder:
    """The folder of a job.

    command.json   what to run, and where
    lock           held by the child, and by what it runs: gone when both are
    begun          the command was started: no other child starts it
    cancel, kill   somebody wants it to stop; at once
    progress.json  how far it is (see `gptsmith.base.progress`)
    out, err       the end of what it said
    exit.json      its exit code and when it ended
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.command, self.exit, self.progress = (path / f"{name}.json" for name in ("command", "exit", "progress"))
        self.begun, self.cancel, self.kill = (path / name for name in ("begun", "cancel", "kill"))
        self.out, self.err = path / "out", path / "err"

    def make(self, command: list[str], folder: Path) -> None:
        """Has a child run a command in a folder.

        Raises:
            UserError: it cannot be written.
        """
        with suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
        write_json(self.command, {"command": command, "folder": str(folder)})

    def locked(self, patience_s: float = 0.0) -> int | None:
        """A descriptor that holds the lock until it is closed, here and in processes that inherit it; None if somebody
        else has the lock for that long.

        Raises:
            OSError: the folder cannot be written.
        """
        import fcntl  # where there is none, there are no jobs

        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        until = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if time.monotonic() >= until:
                    os.close(descriptor)
                    return None
                time.sleep(RETRY_S)

    def standing(self) -> Standing:
        """How the job stands. No child can begin or end it while it is looked at."""
        if not self.path.is_dir():
            return Standing.NEW
        descriptor = self.locked()
        if descriptor is None:
            return Standing.RUNNING
        try:
            if self.exit.exists():
                return Standing.ENDED
            return Standing.KILLED if self.begun.exists() else Standing.NEW
        finally:
            os.close(descriptor)

    def exit_code(self) -> int | None:
        """The exit code of the command, negative if a signal ended it; None if it is not known."""
        code = self._read(self.exit).get("code")
        return code if isinstance(code, int) else None

    def ended(self) -> float | None:
        """When it ended, in seconds since 1970; None if that is not known."""
        ended = self._read(self.exit).get("ended")
        return ended if isinstance(ended, float) else None

    def progress_now(self) -> dict[str, Any] | None:
        """How far it is: fraction, words, figures and seconds_left; None if that is not known."""
        return self._read(self.progress) or None

    def problem(self) -> dict[str, Any] | None:
        """What the command said when it failed, as a code and values (see `gptsmith.base.notices`); None if it gave
        none."""
        problem = self._read(self.progress).get("problem")
        return problem if isinstance(problem, dict) else None

    def last_words(self) -> str:
        """The last line that it said on standard error."""
        with suppress(OSError):
            lines = self.err.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return lines[-1].strip() if lines else ""
        return ""

    def result(self) -> Any:
        """The last line that it wrote to standard output, as JSON; None if it is none."""
        with suppress(OSError, UserError, ValueError):
            lines = self.out.read_bytes().strip().splitlines()
            from gptsmith.base.json_reader import parse_json

            return parse_json(lines[-1].decode("utf-8"), nan_is_null=True) if lines else None
        return None

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            return read_table(path)
        except UserError:
            return {}


def command_of(folder: JobFolder) -> tuple[list[str], str]:
    """The command of a job, and the folder that it runs in.

    Raises:
        UserError: they cannot be read.
    """
    written = read_json(folder.command)
    return [str(word) for word in written["command"]], str(written["folder"])
