"""A server of two processes with a tiny model, and what asks it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import gptsmith
from gptsmith.serve.replicas.server import ReplicatedServer

from ..conftest import DEADLINE_S, Answer, answer_of

ALL_TOKENS = {"max_tokens": 600, "ignore_eos": True}


class Asking:
    """Asks a server."""

    def __init__(self, server: ReplicatedServer) -> None:
        self.server, self.port = server, int(server.address.rpartition(":")[2])

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """The answer to one request; a body that is not bytes is sent as JSON."""
        return answer_of(self.port, method, path, body, headers)

    def stream(self, model: str = "chat", **more: Any) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """A stream that has begun."""
        connection = self.connect()
        body = {"model": model, "prompt": "The", **ALL_TOKENS, "stream": True, **more}
        connection.request("POST", "/v1/completions", json.dumps(body))
        response = connection.getresponse()
        assert response.readline().startswith(b"data: ")
        return connection, response

    def metric(self, name: str, **labels: str) -> dict[str, float]:
        """The samples of a name and some labels, by replica."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self.ask("GET", "/metrics").data.decode()):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    found[sample.labels["replica"]] = found.get(sample.labels["replica"], 0) + sample.value
        return found

    def num_active(self) -> list[int]:
        """The requests of each replica."""
        return [replica.process.num_active for replica in self.server.keeper.replicas]


@pytest.fixture(scope="module")
def both(runs: Path) -> Iterator[Asking]:
    """A server of two replicas."""
    with gptsmith.serve(runs / "chat", replicas=2, port=0, device="cpu", background=True) as server:
        assert isinstance(server, ReplicatedServer)
        yield Asking(server)
