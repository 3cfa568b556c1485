"""A studio that runs: from the request to a page that a browser can open."""

from __future__ import annotations

import logging
import socket
from contextlib import ExitStack
from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.base.verbs import verb
from gptsmith.serve.app import make_app
from gptsmith.serve.auth import ApiKeys
from gptsmith.serve.model_folders import ModelFolders
from gptsmith.serve.running_server import RunningServer
from gptsmith.serve.served_models import ServedModels
from gptsmith.serve.server import bound_socket
from gptsmith.serve.settings import ServeSettings
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.place import Place
from gptsmith.serve.studio.request import StudioRequest
from gptsmith.serve.studio.routes import STUDIO_ROUTES
from gptsmith.serve.studio.state import Studio, StudioState

LOOPBACK, USUAL_PORT = "127.0.0.1", 8010


class StudioServer(RunningServer):
    """A studio on a port of this machine's loopback address.

    Attributes:
        page: the address with the token that lets a browser in.
        studio: what it works on.
    """

    def __init__(self, request: StudioRequest) -> None:
        """
        Raises:
            StudioRunsError: a studio of the folder runs already.
            UserError: the folder cannot be used, or the port is not available.
        """
        place = Place(Path(request.folder), [Path(path) for path in request.allow])
        place.take()
        with ExitStack() as undone:
            undone.callback(place.leave)
            listening = undone.enter_context(_listening(request.port))
            database = Database(place.database)
            undone.callback(database.close)
            self.studio = Studio(place, database, request.device)
            settings = ServeSettings()
            folders = ModelFolders(
                [place.runs, *place.allowed], device=request.device, with_prompts=True, in_background=True
            )
            models = ServedModels([], settings, folders=folders)
            undone.callback(models.close)
            token = place.token()
            state = StudioState(models, settings, host=LOOPBACK, keys=ApiKeys([token]), studio=self.studio)
            super().__init__(listening, state, make_app(state, STUDIO_ROUTES))
            self.page = f"{self.address}/#token={token}"
            place.tell(self.page)
            undone.pop_all()
        self.studio.quit = self._server.drain
        self.studio.start()

    def __repr__(self) -> str:
        return f"StudioServer({self.studio.place.folder} on {self.address})"

    def run(self) -> None:
        """Serves until SIGTERM or Ctrl-C; jobs go on afterwards."""
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
        try:
            self.serve_here()
        finally:
            self.studio.close()

    def close(self) -> None:
        super().close()
        self.studio.close()


def _listening(port: int | None) -> socket.socket:
    """A socket on a port of the loopback address.

    Raises:
        UserError: the port that was named is not available.
    """
    if port is not None:
        return bound_socket(LOOPBACK, port)
    try:
        return bound_socket(LOOPBACK, USUAL_PORT)
    except UserError:
        return bound_socket(LOOPBACK, 0)


@verb(StudioRequest, "folder")
def studio(request: StudioRequest) -> StudioServer:
    """Make, tune and use models in a browser, until Ctrl-C; or in the background, until the studio is closed:
    `with gptsmith.studio(background=True) as studio: ...`.

    Returns:
        the studio: its `page`, and `close()`.

    Raises:
        UserError: the folder cannot be used, a studio of it runs already, or the port is not available.
    """
    server = StudioServer(request)
    if request.background:
        server.start()
        return server
    server.run()
    return server
