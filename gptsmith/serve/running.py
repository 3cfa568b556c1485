"""Serving models: from the request to a server that runs, in this thread or in one of its own."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.base.interrupts import AGAIN, answered_at_once
from gptsmith.base.verbs import verb
from gptsmith.convert.load import load
from gptsmith.serve.auth import read_api_keys
from gptsmith.serve.hosts import is_loopback
from gptsmith.serve.load import load_served
from gptsmith.serve.model_folders import ModelFolders, split_folders
from gptsmith.serve.request import ServeRequest
from gptsmith.serve.route import Route
from gptsmith.serve.routes import ROUTES
from gptsmith.serve.served_models import ServedModels
from gptsmith.serve.server import POLL_S, GracefulServer, bound_socket
from gptsmith.serve.state import State
from gptsmith.serve.tls import TlsFiles, tls_files
from gptsmith.workflows.documents import open_documents


class RunningServer:
    """A state that is served on a socket, in this thread or in one of its own; as a context manager, until the block
    ends.

    Attributes:
        address: where, such as `http://127.0.0.1:8000`; OpenAI's client takes it with `/v1` after it.
    """

    def __init__(
        self, listening: socket.socket, state: State, *, tls: TlsFiles | None = None, routes: Sequence[Route] = ROUTES
    ) -> None:
        self._socket = listening
        self._server = GracefulServer(state, tls, routes)
        self._thread: threading.Thread | None = None
        host, port = state.host, listening.getsockname()[1]
        self.address = f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"

    def serve_here(self) -> None:
        """Serves in this thread until SIGTERM or Ctrl-C."""
        drain_s = self._server.state.settings.drain_s
        _keep_pauses_short()
        with answered_at_once(f"stopping: requests that run have {drain_s:g} s to end{AGAIN}"):
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
        while not self._server.started:
            if not self._thread.is_alive():
                raise UserError(f"{self.address} does not begin to serve")
            time.sleep(POLL_S)

    def close(self) -> None:
        """Ends a server that was started, after the requests that are being answered."""
        if self._thread is not None and self._thread.is_alive():
            self._server.drain()
            self._thread.join()

    def has_ended(self, timeout_s: float) -> bool:
        """Whether all its threads end within this time, after it has served."""
        return self._server.state.models.workers.has_ended(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Server(RunningServer):
    """Models that are served on a port.

    Attributes:
        models: their names.
    """

    def __init__(self, request: ServeRequest) -> None:
        """
        Raises:
            UserError: a model cannot be read, the port is not available, or others could use it without a key.
        """
        host, device, dtype = request.host, request.device, request.dtype
        if request.api_key_file is None and not is_loopback(host):
            raise UserError(
                f"--host {host} can be reached from other machines: give --api-key-file FILE, or leave --host out"
            )
        keys = None if request.api_key_file is None else read_api_keys(str(request.api_key_file))
        tls = tls_files(request.tls_certificate, request.tls_key)
        listening = bound_socket(host, request.port)
        try:
            shows_prompts = request.share_prompts or is_loopback(host)
            named, folders = split_folders(request.runs)
            served = load_served(named, device=device, dtype=dtype, with_prompts=shows_prompts)
            draft = None if request.draft is None else load(request.draft, device=device, dtype=dtype)
            found = ModelFolders(folders, device=device, dtype=dtype, with_prompts=shows_prompts) if folders else None
            models = ServedModels(served, request, draft, found, open_documents(request.documents))
        except BaseException:
            listening.close()
            raise
        state = State(models, request, host=host, keys=keys, shares_sources=request.share_sources)
        super().__init__(listening, state, tls=tls)
        self._models = models
        self.models = [*models.entries]

    def __repr__(self) -> str:
        return f"Server({', '.join(self.models)} on {self.address})"

    def run(self) -> None:
        """Serves until SIGTERM or Ctrl-C, and says where."""
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
        note(f"serving {', '.join(self.models)} on {self.address}/")
        for name, served in self._models.loaded.items():
            note(f"{name}: {served.engine.forwards.description}; {served.engine.kv_memory.bound}")
            if served.engine.recital_guard is not None:
                note(f"{name}: {served.engine.recital_guard.description} (--no-recital)")
        self.serve_here()


def _keep_pauses_short() -> None:
    """Exempts the objects of now from garbage collection: looking through those of PyTorch takes half a second, and all
    threads stop for it."""
    gc.collect()
    gc.freeze()


@verb(ServeRequest, "runs")
def serve(request: ServeRequest) -> Server:
    """Serve models, by OpenAI's API and a chat page on one port, until Ctrl-C; or in the background, until the server
    is closed: `with gptsmith.serve("runs/mine", port=0, background=True) as server:`.

    Returns:
        the server: its `address`, and `close()`.

    Raises:
        UserError: a model cannot be read, the port is not available, or others could use it without a key.
    """
    server = Server(request)
    if request.background:
        server.start()
        return server
    server.run()
    return server
