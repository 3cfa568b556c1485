"""A replica's process, as the process in front sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass

from gptsmith.base.errors import UserError
from gptsmith.base.json_text import json_text
from gptsmith.base.machine import num_cpus
from gptsmith.serve.request import ServeRequest

CHILD = "gptsmith.serve.replicas.child"
THREADS = "OMP_NUM_THREADS"
LAST_WORDS_S = 10.0
"""How long a process may take to end once it has no request any more."""


@dataclass(frozen=True)
class Order:
    """What a replica's process is told first.

    Attributes:
        request: the request to serve, as JSON.
        number: of the replica, from 1.
        speaks: whether it says what it does while it loads models. The others do the same.
        logs: whether it says of each request that it was answered.
    """

    request: str
    number: int
    speaks: bool
    logs: bool


class ReplicaProcess:
    """A process that serves all models at a port of its own of the loopback address. When its standard input closes,
    also because the process in front has died, it ends at once.

    Attributes:
        num_active: requests that it answers.
        port: where; 0 until it does.
        models: their names.
    """

    def __init__(self, request: ServeRequest, number: int, *, speaks: bool = False) -> None:
        self.number, self.num_active, self.port = number, 0, 0
        self.models: list[str] = []
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the process in front
            env={**os.environ, THREADS: str(threads_each(request.replicas))},
        )
        assert self._process.stdin is not None
        order = json_text(asdict(Order(request.model_dump_json(), number, speaks, logs=not request.background)))
        with suppress(BrokenPipeError):  # `wait_until_ready` says why
            self._process.stdin.write(f"{order}\n".encode())
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative if a signal ended it; None while it lives."""
        with self._lock:
            return self._process.poll()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self) -> None:
        """Returns once it takes requests.

        Raises:
            UserError: it ends before that, for the reason that it gives.
        """
        assert self._process.stdout is not None
        with self._process.stdout as said:
            line = said.readline()
        told = json.loads(line) if line.endswith(b"\n") else {}
        if "error" in told:
            raise UserError(told["error"])
        if not told:
            code = self._process.wait()
            raise UserError(f"replica {self.number} ended with exit code {code} before it took requests")
        self.port, self.models = told["port"], told["models"]

    def release(self) -> None:
        """Lets it end, and its requests with it."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def end(self) -> None:
        """Ends it; returns when it is gone."""
        self.release()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_WORDS_S)
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def threads_each(num_replicas: int) -> int:
    """The threads with which each replica computes: its share of the cores, unless the environment says a number."""
    given = os.environ.get(THREADS, "")
    return int(given) if given.isdecimal() and int(given) > 0 else max(1, num_cpus() // num_replicas)
