"""Serving models: from the request to a server that runs."""

from __future__ import annotations

import logging
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.verbs import verb
from gptsmith.serve.app import make_app
from gptsmith.serve.opening import described, open_door, open_state
from gptsmith.serve.replicas.server import ReplicatedServer
from gptsmith.serve.request import ServeRequest
from gptsmith.serve.running_server import RunningServer


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
        door = open_door(request)
        try:
            self._state = open_state(request, door.keys)
        except BaseException:
            door.listening.close()
            raise
        super().__init__(door.listening, self._state, make_app(self._state), tls=door.tls)
        self.models = [*self._state.models.entries]

    def __repr__(self) -> str:
        return f"Server({', '.join(self.models)} on {self.address})"

    @property
    def place(self) -> dict[str, Any]:
        """Where it serves what, for programs."""
        return {"address": self.address, "models": self.models}

    def run(self) -> None:
        """Serves until SIGTERM or Ctrl-C, and says where."""
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
        note(f"serving {', '.join(self.models)} on {self.address}/")
        for line in described(self._state):
            note(line)
        self.serve_here()


def make_server(request: ServeRequest) -> Server | ReplicatedServer:
    """The server of a request, in as many processes as it says.

    Raises:
        UserError: a model cannot be read, the port is not available, or others could use it without a key.
    """
    return Server(request) if request.replicas == 1 else ReplicatedServer(request)


@verb(ServeRequest, "runs")
def serve(request: ServeRequest) -> Server | ReplicatedServer:
    """Serve models, by OpenAI's API and a chat page on one port, until Ctrl-C; or in the background, until the server
    is closed: `with gptsmith.serve("runs/mine", port=0, background=True) as server:`.

    Returns:
        the server: its `address`, and `close()`.

    Raises:
        UserError: a model cannot be read, the port is not available, or others could use it without a key.
    """
    server = make_server(request)
    if request.background:
        server.start()
        return server
    server.run()
    return server
