"""A server that runs: in this thread, or in one of its own."""

from __future__ import annotations

import gc
import socket
import threading
from types import TracebackType
from typing import Self

from starlette.types import ASGIApp

from gptsmith.base.errors import UserError
from gptsmith.base.interrupts import AGAIN, answered_at_once
from gptsmith.serve.server import POLL_S, GracefulServer
from gptsmith.serve.state import ServerState
from gptsmith.serve.tls import TlsFiles


class RunningServer:
    """A state that is served on a socket, in this thread or in one of its own; as a context manager, until the block
    ends.

    Attributes:
        address: where, such as `http://127.0.0.1:8000`; OpenAI's client takes it with `/v1` after it.
    """

    def __init__(
        self, listening: socket.socket, state: ServerState, app: ASGIApp, *, tls: TlsFiles | None = None
    ) -> None:
        self._socket = listening
        self._server = GracefulServer(state, app, tls)
        self._thread: threading.Thread | None = None
        host, port = state.host, listening.getsockname()[1]
        self.address = f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"

    def serve_here(self) -> None:
        """Serves in this thread until SIGTERM or Ctrl-C."""
        drain_s = self._server.state.settings.drain_s
        keep_pauses_short()
        with answered_at_once(f"stopping: requests that run have {drain_s:g} s to end{AGAIN}"):
            self._serve()

    def serve_quietly(self) -> None:
        """The same for a process that another one speaks for."""
        keep_pauses_short()
        self._serve()

    def _serve(self) -> None:
        with self._socket:
            self._server.run([self._socket])

    @property
    def stopped_by(self) -> int | None:
        """The signal that ended it; None if none did."""
        return self._server.stopped_by

    def start(self) -> None:
        """Serves in a thread of its own; returns when requests are answered.

        Raises:
            UserError: it does not begin to serve.
        """
        self._thread = threading.Thread(target=self._serve, name="server", daemon=True)
        self._thread.start()
        while not self._server.has_started.wait(POLL_S):
            if not self._thread.is_alive():
                raise UserError(f"{self.address} does not begin to serve")

    def close(self) -> None:
        """Ends a server that was started, after the requests that are being answered."""
        if self._thread is not None and self._thread.is_alive():
            self._server.drain()
            self._thread.join()

    def end(self) -> bool:
        """Ends a server that runs and its requests, from any thread; returns whether it runs."""
        return self._server.end()

    def has_ended(self, timeout_s: float) -> bool:
        """Whether all its threads end within this time, after it has served."""
        return self._server.state.has_ended(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def keep_pauses_short() -> None:
    """Exempts the objects of now from garbage collection: looking through those of PyTorch takes half a second, and all
    threads stop for it."""
    gc.collect()
    gc.freeze()
