"""A real server on a port of this machine, with tiny models that were really trained."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

import gptsmith
from gptsmith.convert.load import load
from gptsmith.generate.engine import Engine
from gptsmith.retrieval.documents import Documents
from gptsmith.serve.app import make_app
from gptsmith.serve.auth import ApiKeys
from gptsmith.serve.load import load_served
from gptsmith.serve.model_folders import ModelFolders, split_folders
from gptsmith.serve.served_models import ServedModels
from gptsmith.serve.server import GracefulServer, bound_socket
from gptsmith.serve.settings import ServeSettings
from gptsmith.serve.state import State
from gptsmith.serve.static import PageFiles

from ..workflows.conftest import SMALL, short_samples, write_text

__all__ = ["short_samples"]

DEADLINE_S = 60.0
TOOLS = ("nail", "sword", "plough")
QUESTION = [{"role": "user", "content": "5: a nail?"}]


def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for something to become true, and fails where it does not."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@contextmanager
def slowed(engine: Engine, pass_s: float = 0.05) -> Iterator[None]:
    """Makes each forward pass of an engine take long while the block runs, so that what is being generated does not end
    before a test has looked at it."""
    is_over = threading.Event()

    def pause() -> None:
        is_over.wait(pass_s)

    engine.on_pass = pause
    try:
        yield
    finally:
        is_over.set()
        engine.on_pass = lambda: None


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def error(self) -> dict[str, Any]:
        """The error, in the shape that every error has."""
        (key,) = self.json
        assert key == "error"
        error: dict[str, Any] = self.json["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        return error


def answer_of(port: int, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    """The answer of a server on this machine; a body that is not bytes is sent as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, headers or {})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


@dataclass
class Served:
    """A server that runs."""

    state: State
    running: GracefulServer
    port: int
    clients: list[OpenAI] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **more: Any) -> OpenAI:
        """OpenAI's own client; it is closed with the server."""
        made = OpenAI(**{"base_url": f"{self.address}/v1", "api_key": "none", "max_retries": 0, **more})
        self.clients.append(made)
        return made

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """The answer to one request; a body that is not bytes is sent as JSON."""
        return answer_of(self.port, method, path, body, headers)

    def gauge(self, name: str) -> float:
        """The sum of a figure over all models."""
        lines = self.ask("GET", "/metrics").data.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    def is_idle(self) -> bool:
        models = self.state.models.loaded.values()
        return (
            all(model.engine.figures().running + model.engine.figures().waiting == 0 for model in models)
            and all(model.num_reserved == 0 for model in models)
            and self.state.num_active_requests == 0
        )


@contextmanager
def serving(
    runs: list[str],
    keys: ApiKeys | None = None,
    page: Path | None = None,
    send_bytes: int | None = None,
    draft: str | None = None,
    documents: Documents | None = None,
    **settings: Any,
) -> Iterator[Served]:
    """A server of some runs, or folders of runs, while the block runs. `send_bytes` is what the network holds for a
    client."""
    bounds = ServeSettings(**settings)
    guesser = None if draft is None else load(draft, device="cpu")
    named, folders = split_folders(runs)
    found = ModelFolders(folders, device="cpu", with_prompts=True) if folders else None
    models = ServedModels(load_served(named, device="cpu", with_prompts=True), bounds, guesser, found, documents)
    state = State(models, bounds, keys=keys, page=PageFiles() if page is None else PageFiles(page))
    with bound_socket("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        if send_bytes is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
        running = GracefulServer(state, make_app(state))
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        found = Served(state, running, port)
        try:
            until(lambda: running.started, "the server begins")
            yield found
        finally:
            for client in found.clients:
                client.close()
            running.should_exit = True
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: `base`, `chat` tuned from it, `adapted`, which has adapters over it, and `labels`, which tells
    tools from food."""
    folder = tmp_path_factory.mktemp("served")
    text = write_text(folder / "smiths")
    settings = [*SMALL, "model.context_length=768", "train.num_steps=40", "train.batch_size=1"]
    gptsmith.pretrain([text], out=folder / "base", settings=settings)
    chance = random.Random(0)
    records = []
    for number in range(60):
        tool = chance.choice(TOOLS)
        records.append({"question": f"{number}: a {tool}?", "answer": f"The smith forges a {tool}."})
    talk = folder / "talk.jsonl"
    talk.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    quick = ["train.num_steps=8", "train.batch_size=2", "train.evaluate_every_steps=4"]
    gptsmith.finetune(folder / "base", [talk], out=folder / "chat", settings=quick)
    gptsmith.finetune(folder / "base", [talk], out=folder / "adapted", lora=4, settings=quick)
    labelled = folder / "labelled.jsonl"
    words = {"tool": TOOLS, "food": ("bread", "soup", "cheese")}
    rows = [
        {"text": f"{number} {word}", "label": label} for number in range(20) for label in words for word in words[label]
    ]
    labelled.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    gptsmith.finetune(folder / "base", [labelled], out=folder / "labels", settings=[*quick, "train.num_steps=30"])
    return folder


@pytest.fixture(scope="session")
def served(runs: Path) -> Iterator[Served]:
    """A server of all three."""
    with serving([str(runs / name) for name in ("base", "chat", "adapted")]) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test the shared server has nothing to do."""
    yield
    if "served" in request.fixturenames:
        found: Served = request.getfixturevalue("served")
        until(found.is_idle, "every text has ended and every place is free")


@pytest.fixture
def client(served: Served) -> OpenAI:
    return served.client()
