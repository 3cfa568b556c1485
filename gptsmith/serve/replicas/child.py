"""A replica: `python -m gptsmith.serve.replicas.child` serves what the first line of its standard input orders, and
says in a line of JSON where, or why it cannot. It ends when its standard input does."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from typing import TextIO

from gptsmith.base import console
from gptsmith.base.errors import UserError
from gptsmith.base.json_text import json_text
from gptsmith.serve.app import make_app
from gptsmith.serve.opening import described, open_state, requested_keys
from gptsmith.serve.replicas.process import Order
from gptsmith.serve.request import ServeRequest
from gptsmith.serve.running_server import RunningServer
from gptsmith.serve.server import bound_socket

LAST_READ_S = 2.0
FAILED = 2


def main() -> int:
    """Serves until it is to end; the exit code."""
    told = _own_output()
    order = Order(**json.loads(sys.stdin.buffer.readline()))
    request = ServeRequest.model_validate_json(order.request)
    level = logging.INFO if order.logs else logging.WARNING
    logging.basicConfig(format=f"%(asctime)s replica {order.number}: %(message)s", level=level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # the process in front says when it begins and ends
    if not order.speaks:
        console.be_silent()
    leash = Leash()
    try:
        state = open_state(request, requested_keys(request), order.number)
        listening = bound_socket("127.0.0.1", 0)
    except UserError as error:
        print(json_text({"error": str(error)}), file=told, flush=True)
        return FAILED
    for line in described(state):
        console.note(line)
    server = RunningServer(listening, state, make_app(state))
    leash.hold(server)
    print(json_text({"port": listening.getsockname()[1], "models": [*state.models.entries]}), file=told, flush=True)
    server.serve_quietly()
    return 0 if server.has_ended(LAST_READ_S) else FAILED


def _own_output() -> TextIO:
    """Standard output, for the process in front alone: whatever else is printed goes to standard error."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return told


class Leash:
    """Ends this process when standard input does: at once while it loads, and in good order once it serves."""

    def __init__(self) -> None:
        self._server: RunningServer | None = None
        threading.Thread(target=self._wait, name="leash", daemon=True).start()

    def hold(self, server: RunningServer) -> None:
        """From now on, this server is to end."""
        self._server = server

    def _wait(self) -> None:
        while os.read(0, 1024):
            pass
        if self._server is None or not self._server.end():
            os._exit(FAILED)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # Python would wait for threads that read a prompt for ever
