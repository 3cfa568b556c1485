"""A request that one replica does not take goes to the next, and one that ends a replica goes to no other."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest
from starlette.testclient import TestClient

from gptsmith.serve.replicas.front import FrontState, make_front
from gptsmith.serve.replicas.keeper import Keeper, end_if_silent
from gptsmith.serve.replicas.process import ReplicaProcess
from gptsmith.serve.replicas.routing import Replica
from gptsmith.serve.settings import ServeSettings

GOOD = b"HTTP/1.1 200 OK\r\ndate: then\r\nx-request-id: req_of_it\r\ncontent-length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nbusy"
LEAVING = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
BROKEN_OFF = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nha"
NO_HTTP = b"SSH-2.0-x\r\n\r\n"


@dataclass
class Process:
    port: int
    exit_code: int | None = None
    num_active: int = 0
    models: list[str] = field(default_factory=lambda: ["chat"])


@dataclass
class Ending(Process):
    has_ended: threading.Event = field(default_factory=threading.Event)

    def end(self) -> None:
        self.exit_code = -9
        self.has_ended.set()


def replica_of(process: Process) -> Replica:
    return Replica(1, cast(ReplicaProcess, process))


class Kept:
    """Replicas that nobody keeps."""

    def __init__(self, processes: list[Process]) -> None:
        self.replicas = [Replica(number, cast(ReplicaProcess, process)) for number, process in enumerate(processes, 1)]

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        yield


@contextmanager
def answering(answer: bytes | None, seen: list[bytes], process: Process) -> Iterator[None]:
    """Takes connections at a port, reads each request and gives the answer; without one, the process ends."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                seen.append(connection.recv(1 << 16))
                if answer is None:
                    process.exit_code = -9
                else:
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        process.port = listening.getsockname()[1]
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def front(*answers: bytes | None) -> Iterator[tuple[TestClient, list[list[bytes]], list[Process]]]:
    """The process in front of some replicas, what each of them sees, and their processes."""
    processes, seen = [Process(1) for _ in answers], [list[bytes]() for _ in answers]
    with ExitStack() as stack:
        for answer, requests, process in zip(answers, seen, processes, strict=True):
            stack.enter_context(answering(answer, requests, process))
        state = FrontState(ServeSettings(), "127.0.0.1", None, cast(Keeper, Kept(processes)))
        client = TestClient(make_front(state), base_url="http://127.0.0.1", raise_server_exceptions=False)
        yield stack.enter_context(client), seen, processes


@pytest.mark.parametrize("refusal", [BUSY, LEAVING, NO_HTTP])
def test_one_that_does_not_take_a_request_is_passed_over(refusal: bytes) -> None:
    with front(refusal, GOOD) as (client, seen, processes):
        answer = client.post("/v1/completions?a=b", content=b"{}")
        assert (answer.status_code, answer.content, answer.headers["x-request-id"]) == (200, b"ok", "req_of_it")
        assert "date" not in answer.headers
        assert [len(requests) for requests in seen] == [1, 1]
        assert seen[1][0].startswith(b"POST /v1/completions?a=b HTTP/1.1\r\n")
        assert seen[1][0].endswith(b"\r\n\r\n{}")
        assert [process.num_active for process in processes] == [0, 0]


def test_headers_of_one_connection_are_not_passed_on() -> None:
    answered = GOOD.replace(b"date: then", b"Connection: x-own-answer\r\nX-Own-Answer: 1\r\nX-Other: 2")
    with front(answered) as (client, seen, _):
        own = {"connection": "close, X-Own, host", "x-own": "1", "te": "trailers", "x-other": "2"}
        answer = client.get("/v1/models", headers=own)
        assert answer.status_code == 200
        assert [name for name in answer.headers if name in ("connection", "x-own-answer", "x-other")] == ["x-other"]
        lines = seen[0][0].split(b"\r\n")
        assert [line for line in lines if line.startswith((b"x-", b"te", b"connection"))] == [
            b"x-other: 2",
            b"connection: close",
        ]


@pytest.mark.parametrize("answer", [GOOD, NO_HTTP])
def test_one_that_answers_goes_on(answer: bytes) -> None:
    seen: list[bytes] = []
    process = Ending(1)
    with answering(answer, seen, process):

        async def work() -> None:
            watching = asyncio.create_task(end_if_silent(replica_of(process), every_s=0))
            while len(seen) < 3:
                await asyncio.sleep(0)
            watching.cancel()

        asyncio.run(work())
    assert not process.has_ended.is_set()


def test_one_that_is_silent_is_ended() -> None:
    process = Ending(1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process.port = silent.getsockname()[1]

        async def work() -> None:
            watching = asyncio.create_task(end_if_silent(replica_of(process), every_s=0, most_s=0.01))
            assert await asyncio.to_thread(process.has_ended.wait, 60)
            watching.cancel()

        asyncio.run(work())


def test_where_all_are_busy_the_last_one_says_so() -> None:
    with front(BUSY, BUSY) as (client, _, __):
        answer = client.post("/v1/completions", content=b"{}")
        assert (answer.status_code, answer.content) == (429, b"busy")


def test_one_that_takes_no_connections_is_passed_over() -> None:
    with front(GOOD, GOOD) as (client, seen, processes):
        with socket.create_server(("127.0.0.1", 0)) as free:
            processes[0].port = free.getsockname()[1]
        assert client.get("/v1/models").status_code == 200
        assert [len(requests) for requests in seen] == [0, 1]


def test_what_ends_a_replica_is_not_passed_to_another() -> None:
    with front(None, GOOD) as (client, seen, _):
        answer = client.post("/v1/completions", content=b"{}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "replica_lost")
        assert [len(requests) for requests in seen] == [1, 0]
        assert client.get("/v1/models").status_code == 200


def test_an_answer_that_breaks_off_does_not_look_whole() -> None:
    with front(BROKEN_OFF, GOOD) as (client, seen, _):
        assert client.get("/v1/models").content in (b"", b"ha")
        assert [len(requests) for requests in seen] == [1, 0]


def test_it_is_ready_while_one_replica_takes_requests() -> None:
    with front(GOOD, GOOD) as (client, _, processes):
        most = ServeSettings().max_sequences
        processes[0].exit_code = 1
        assert client.get("/ready").json() == {"status": "ready"}
        processes[1].num_active = most
        assert (client.get("/ready").status_code, client.get("/ready").json()) == (503, {"status": "full"})
        processes[1].port = 0
        assert (client.get("/ready").status_code, client.get("/ready").json()) == (503, {"status": "starting"})
        assert client.get("/health").status_code == 200
        answer = client.get("/v1/models")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_replica")
        assert answer.headers["retry-after"]
