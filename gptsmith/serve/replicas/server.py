"""A server of several processes, from its request to its end."""

from __future__ import annotations

import logging
import signal
from types import FrameType
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.base.machine import num_cpus
from gptsmith.convert.open import open_model
from gptsmith.serve.load import named_paths
from gptsmith.serve.log import LOGGER
from gptsmith.serve.model_folders import model_paths, split_folders
from gptsmith.serve.opening import open_door, requested_keys
from gptsmith.serve.replicas.front import FrontState, make_front
from gptsmith.serve.replicas.keeper import Keeper
from gptsmith.serve.replicas.process import threads_each
from gptsmith.serve.request import ServeRequest
from gptsmith.serve.running_server import RunningServer
from gptsmith.workflows.documents import open_documents

RENEW = getattr(signal, "SIGUSR1", None)
"""The signal that renews all replicas, one at a time. Windows has none."""


class ReplicatedServer(RunningServer):
    """Models that several processes serve on one port.

    Attributes:
        models: their names.
        keeper: the processes.
    """

    def __init__(self, request: ServeRequest) -> None:
        """
        Raises:
            UserError: a model cannot be read, the port is not available, or others could use it without a key; or a
                folder of models is given.
        """
        self._request, count = request, request.replicas
        door = open_door(request)
        try:
            _require_models(request)
            if count > num_cpus():
                note(f"--replicas {count}: this machine has {num_cpus()} cores, so that they slow each other down")
            open_documents(request.documents)  # they are indexed once; the replicas find them
            self.keeper = Keeper(_for_each(request))
        except BaseException:
            door.listening.close()
            raise
        self._state = FrontState(request, request.host, door.keys, self.keeper)
        super().__init__(door.listening, self._state, make_front(self._state), tls=door.tls)
        self.models = self.keeper.replicas[0].process.models

    def __repr__(self) -> str:
        return f"ReplicatedServer({len(self.keeper.replicas)} of {', '.join(self.models)} on {self.address})"

    @property
    def place(self) -> dict[str, Any]:
        """Where it serves what, for programs."""
        replicas = [
            {"replica": replica.number, "process": replica.process.pid, "address": replica.process.address}
            for replica in self.keeper.replicas
        ]
        return {"address": self.address, "models": self.models, "replicas": replicas}

    def run(self) -> None:
        """Serves until SIGTERM or Ctrl-C, and says where."""
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
        threads, count = threads_each(self._request.replicas), len(self.keeper.replicas)
        note(
            f"serving {', '.join(self.models)} on {self.address}/ with {count} replicas, each of {threads} "
            f"{'thread' if threads == 1 else 'threads'}"
        )
        for replica in self.keeper.replicas:
            note(f"replica {replica.number}: process {replica.process.pid} on {replica.process.address}/")
        if RENEW is not None:
            signal.signal(RENEW, self._renew_soon)
        self.serve_here()

    def _serve(self) -> None:
        try:
            super()._serve()
        finally:
            self.keeper.end_all()

    def _renew_soon(self, _: int, __: FrameType | None) -> None:
        self._server.call_soon(self.renew)

    async def renew(self) -> None:
        """Replaces every process by a new one, one at a time, which reads the models and the keys as they are now."""
        LOGGER.info("renewing %d replicas", len(self.keeper.replicas))
        if not await self.keeper.renew():
            return
        try:
            self._state.keys = requested_keys(self._request)
        except UserError as error:
            LOGGER.error("the keys stay as they were: %s", error)


def _require_models(request: ServeRequest) -> None:
    """
    Raises:
        UserError: a model is not there, or a folder of models is given.
    """
    named, folders = split_folders(request.runs)
    if folders:
        raise UserError(
            f"{folders[0]} is a folder of models, which are loaded on first use, and --replicas needs models that stay "
            f"loaded: name them, such as {next(model_paths(folders[0]))}, or leave --replicas out"
        )
    for path in named_paths(named).values():
        open_model(path)  # said at once, and not by every replica


def _for_each(request: ServeRequest) -> ServeRequest:
    """The request as each replica gets it, with its share of the memory."""
    given = request.kv_cache_memory
    return request if given is None else request.model_copy(update={"kv_cache_memory": given // request.replicas})
