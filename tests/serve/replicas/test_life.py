"""Replicas end, are killed, renewed and drained under load, and no request is lost that was not theirs."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import gptsmith
from gptsmith.serve.replicas.server import ReplicatedServer

from ..conftest import Answer, until
from .conftest import Asking

pytestmark = [
    pytest.mark.story,
    pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the system has no such signals"),
]
KEY, OTHER_KEY = "sk-0123456789abcdef", "sk-fedcba9876543210"


@contextmanager
def load(both: Asking, num_clients: int = 4) -> Iterator[list[Future[Answer]]]:
    """Clients that ask one request after the other until the block ends."""
    is_over, asked = threading.Event(), list[Future[Answer]]()

    def ask(number: int) -> None:
        while not is_over.is_set():
            body = {"model": "chat", "prompt": f"{number}", "max_tokens": 40, "ignore_eos": True}
            done: Future[Answer] = Future()
            asked.append(done)
            try:
                done.set_result(both.ask("POST", "/v1/completions", body))
            except BaseException as error:
                done.set_exception(error)

    with ThreadPoolExecutor(num_clients) as clients:
        workers = [clients.submit(ask, number) for number in range(num_clients)]
        try:
            yield asked
        finally:
            is_over.set()
    for worker in workers:
        worker.result()


def busy(both: Asking) -> int:
    """The index of the replica that has one request, when the other has none."""
    until(lambda: sorted(both.num_active()) == [0, 1], "one is busy")
    return both.num_active().index(1)


def test_a_killed_replica_takes_its_own_requests_along_and_comes_back(both: Asking) -> None:
    connection, response = both.stream(n=8)
    first = both.server.keeper.replicas[busy(both)]
    os.kill(first.process.pid, signal.SIGSTOP)  # it has begun this one, and does not end it
    with ThreadPoolExecutor(1) as other:
        headers = {"X-Prefix-Affinity": "stays"}
        body = {"model": "chat", "prompt": "a", "max_tokens": 1}
        asked = both.ask("POST", "/v1/completions", body, headers)
        assert asked.status == 200  # the other one answers
        with both_busy(both, other) as waiting:
            os.kill(first.process.pid, signal.SIGKILL)
            answer = waiting.result()
    assert (answer.status, answer.error["code"]) == (502, "replica_lost")
    with pytest.raises(http.client.IncompleteRead):
        response.read()
    connection.close()
    assert both.ask("POST", "/v1/completions", body, headers).status == 200
    until(lambda: first.is_up, "it is back")
    name = str(first.number)
    assert both.metric("gptsmith_replica_restarts_total")[name] == 1
    assert both.metric("gptsmith_replica_up") == {"1": 1, "2": 1}
    with load(both) as answers:
        until(lambda: sum(done.done() for done in answers) >= 12, "both answer")
    assert {done.result().status for done in answers} == {200}
    assert both.metric("gptsmith_requests_total", route="/v1/completions")[name] > 0


@contextmanager
def both_busy(both: Asking, other: ThreadPoolExecutor) -> Iterator[Future[Answer]]:
    """A request to the replica that was stopped, which has one already: those after it are busier still."""
    stopped = both.num_active().index(1)
    process = both.server.keeper.replicas[1 - stopped].process
    process.num_active += 10
    try:
        waiting = other.submit(both.ask, "POST", "/v1/completions", {"model": "chat", "prompt": "b", "max_tokens": 1})
        until(lambda: both.num_active()[stopped] == 2, "it waits")
    finally:
        process.num_active -= 10
    yield waiting


def test_renewing_under_load_loses_no_request(both: Asking) -> None:
    before = [replica.process.pid for replica in both.server.keeper.replicas]
    is_renewed = threading.Event()

    async def renew() -> None:
        await both.server.renew()
        is_renewed.set()

    with load(both) as answers:
        until(lambda: sum(done.done() for done in answers) >= 4, "some are answered")
        both.server._server.call_soon(renew)
        until(is_renewed.is_set, "all are renewed")
    assert {done.result().status for done in answers} == {200}
    after = [replica.process.pid for replica in both.server.keeper.replicas]
    assert not set(before) & set(after)
    assert both.metric("gptsmith_replica_restarts_total").keys() == {"1", "2"}
    with pytest.raises(ProcessLookupError):
        os.kill(before[0], 0)


def test_a_drained_replica_under_load_loses_no_request(both: Asking) -> None:
    second = both.server.keeper.replicas[1]
    pid, before = second.process.pid, second.num_restarts
    with load(both) as answers:
        until(lambda: sum(done.done() for done in answers) >= 4, "some are answered")
        os.kill(pid, signal.SIGTERM)
        until(lambda: second.num_restarts == before + 1 and second.is_up, "another one has taken its place")
    assert {done.result().status for done in answers} == {200}


def test_keys_are_read_anew_and_a_model_that_is_gone_changes_nothing(runs: Path, tmp_path: Path) -> None:
    keys, model = tmp_path / "keys", shutil.copytree(runs / "chat", tmp_path / "chat")
    keys.write_text(KEY, encoding="ascii")
    keys.chmod(0o600)
    with gptsmith.serve(model, replicas=2, port=0, device="cpu", api_key_file=keys, background=True) as server:
        assert isinstance(server, ReplicatedServer)
        both = Asking(server)

        def statuses(path: str = "/v1/models") -> list[int]:
            return [both.ask("GET", path, headers={"x-api-key": key}).status for key in (KEY, OTHER_KEY)]

        assert both.ask("GET", "/ready").status == 200
        assert both.ask("GET", "/metrics").status == 401
        assert (statuses(), statuses("/metrics")) == ([200, 401], [200, 401])
        assert both.ask("POST", "/v1/completions", b"x" * 3_000_000).status == 401
        keys.write_text(OTHER_KEY, encoding="ascii")
        loop = server._server._loop
        assert loop is not None
        asyncio.run_coroutine_threadsafe(server.renew(), loop).result()
        assert statuses() == [401, 200]
        shutil.rmtree(model / "checkpoints")
        asyncio.run_coroutine_threadsafe(server.renew(), loop).result()
        assert statuses() == [401, 200]


@contextmanager
def serving(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], Callable[[str], re.Match[str]]]]:
    """The command with two replicas, and what finds a line that it says."""
    command = [sys.executable, "-m", "gptsmith", "serve", *map(str, arguments), "--replicas", "2", "--port", "0"]
    environment = {**os.environ, "COLUMNS": "200"}
    with subprocess.Popen(
        [*command, "--device", "cpu"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:

        def said(pattern: str) -> re.Match[str]:
            assert process.stderr
            for line in process.stderr:
                if (found := re.search(pattern, line)) is not None:
                    return found
            raise AssertionError(pattern)

        try:
            yield process, said
        finally:
            process.kill()


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_the_command_ends_and_its_replicas_with_it(runs: Path, number: int, code: int) -> None:
    with serving(runs / "chat", "--json") as (process, said):
        assert process.stdout
        place = json.loads(process.stdout.readline())
        assert said(r"serving chat on (http://127\.0\.0\.1:\d+)/ with 2 replicas")[1] == place["address"]
        assert place["models"] == ["chat"]
        pids = [replica["process"] for replica in place["replicas"]]
        assert said(r"replica 1: process (\d+) on http://127\.0\.0\.1:\d+/")[1] == str(pids[0])
        host, port = place["address"].removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        body = {"prompt": "The", "max_tokens": 600, "ignore_eos": True, "stream": True}
        connection.request("POST", "/v1/completions", json.dumps(body))
        response = connection.getresponse()
        assert response.readline()
        process.send_signal(number)
        if number == signal.SIGKILL:
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                response.read()
        else:
            assert response.read().endswith(b"data: [DONE]\n\n")
        connection.close()
        assert process.wait(60) == code
        until(lambda: not any(map(is_alive, pids)), "no replica is left")
        assert process.stderr
        assert "Traceback" not in process.stderr.read()


def test_the_signal_renews(runs: Path) -> None:
    with serving(runs / "chat") as (process, said):
        first = [said(rf"replica {number}: process (\d+)")[1] for number in (1, 2)]
        said("Application startup complete")
        process.send_signal(signal.SIGUSR1)
        assert said("renewing 2 replicas")
        later = [said(rf"replica {number} is process (\d+) now")[1] for number in (1, 2)]
        assert not set(first) & set(later)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
