"""Two processes are one server: each answer is as that of one, wherever it was made."""

from __future__ import annotations

import http.client
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from gptsmith.serve.openai.stored_responses import replica_of

from ..conftest import until
from .conftest import Asking

SHORT: dict[str, Any] = {"model": "chat", "max_output_tokens": 8}


def test_both_write_the_same_text(both: Asking) -> None:
    body = {"model": "chat", "prompt": "The", "max_tokens": 30, "seed": 3}
    before = both.metric("gptsmith_requests_total", route="/v1/completions")
    answers = [both.ask("POST", "/v1/completions", body, {"X-Prefix-Affinity": name}) for name in "ab"]
    assert answers[0].json["choices"] == answers[1].json["choices"]
    after = both.metric("gptsmith_requests_total", route="/v1/completions")
    assert {name: after[name] - before.get(name, 0) for name in ("1", "2")} == {"1": 1, "2": 1}


def test_responses_are_found_wherever_they_were_made(both: Asking) -> None:
    with OpenAI(base_url=f"{both.server.address}/v1", api_key="none", max_retries=0) as client:
        made = [client.responses.create(**SHORT, input=f"{number}: a nail?") for number in range(4)]
        assert {replica_of(one.id) for one in made} == {1, 2}
        for one in made:
            assert client.responses.retrieve(one.id).output == one.output
            assert [item.type for item in client.responses.input_items.list(one.id)] == ["message"]
            more = client.responses.create(**SHORT, input="And?", previous_response_id=one.id)
            assert replica_of(more.id) == replica_of(one.id)
            reference: Any = [{"type": "item_reference", "id": one.output[0].id}, {"role": "user", "content": "And?"}]
            assert replica_of(client.responses.create(**SHORT, input=reference).id) == replica_of(one.id)
            client.responses.delete(one.id)
            assert both.ask("GET", f"/v1/responses/{one.id}").status == 404
    assert both.ask("GET", "/v1/responses/resp_9_0123456789abcdef").status == 404


def test_streams_and_kept_connections_and_answers_without_a_body(both: Asking) -> None:
    connection = both.connect()
    for stream in (True, False, True):
        body = {"model": "chat", "messages": [{"role": "user", "content": "A nail?"}], "stream": stream}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        answer = connection.getresponse()
        assert answer.status == 200
        assert (answer.read().endswith(b"data: [DONE]\n\n")) is stream
    connection.request("HEAD", "/v1/models")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    connection.request("GET", "/page/main.js?x=1")
    assert connection.getresponse().read()
    connection.close()


def test_many_at_once_are_shared_out(both: Asking) -> None:
    before = both.metric("gptsmith_generation_tokens_total")
    with ThreadPoolExecutor(8) as clients:
        body = {"model": "chat", "max_tokens": 20, "ignore_eos": True}
        asked = [clients.submit(both.ask, "POST", "/v1/completions", {**body, "prompt": str(n)}) for n in range(24)]
        assert [one.result().status for one in asked] == [200] * 24
    after = both.metric("gptsmith_generation_tokens_total")
    written = [after[name] - before[name] for name in ("1", "2")]
    assert sum(written) == 24 * 20
    assert min(written) > 0


def test_what_a_client_leaves_is_ended(both: Asking) -> None:
    connection, _ = both.stream(n=8)
    connection.close()
    until(lambda: sum(both.num_active()) == 0, "the request ends")
    until(lambda: sum(both.metric("gptsmith_num_requests_running").values()) == 0, "its sequences end")


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code"),
    [
        ("POST", "/v1/completions", b"x" * 2_000_001, {}, 413, "request_too_large"),
        ("POST", "/v1/completions", b"{", {}, 400, None),
        ("POST", "/v1/completions", {"model": "none", "prompt": "a"}, {}, 404, "model_not_found"),
        ("GET", "/v1/none", None, {}, 404, "not_found"),
        ("DELETE", "/v1/models", None, {}, 405, "method_not_allowed"),
        ("GET", "/health", None, {"Host": "elsewhere.example"}, 403, "host_not_allowed"),
        ("POST", "/tokenize", {"prompt": "a"}, {"Origin": "http://elsewhere.example"}, 403, "origin_not_allowed"),
        (
            "POST",
            "/v1/completions",
            b"",
            {"Transfer-Encoding": "chunked", "Content-Length": "0"},
            400,
            "invalid_header",
        ),
    ],
)
def test_what_is_refused_is_refused_as_ever(
    both: Asking, method: str, path: str, body: Any, headers: dict[str, str], status: int, code: str | None
) -> None:
    answer = both.ask(method, path, body, headers)
    assert answer.status == status
    assert re.fullmatch("req_[0-9a-f]{24}", answer.headers["x-request-id"])
    assert code is None or answer.error["code"] == code


def test_a_part_of_a_request_is_not_passed_on(both: Asking) -> None:
    with socket.create_connection(("127.0.0.1", both.port)) as connection:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{both.port}\r\nContent-Length: 10\r\n\r\n12345"
        connection.sendall(head.encode())
        until(lambda: both.metric("gptsmith_requests_in_progress")["0"] == 2, "it has come")
        assert both.num_active() == [0, 0]
    until(lambda: both.metric("gptsmith_requests_in_progress")["0"] == 1, "it is gone")


def test_metrics_are_of_all_each_with_its_number(both: Asking) -> None:
    assert both.metric("gptsmith_replica_up") == {"1": 1, "2": 1}
    assert both.metric("gptsmith_replica_restarts_total") == {"1": 0, "2": 0}
    assert both.metric("gptsmith_model_state", state="loaded") == {"1": 1, "2": 1}
    text = both.ask("GET", "/metrics").data.decode()
    assert text.count("# TYPE gptsmith_requests_total counter") == 1
    answer = both.ask("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.data.endswith(b"# EOF\n")


def test_the_process_in_front_answers_for_all(both: Asking) -> None:
    assert both.ask("GET", "/health").json == {"status": "ok"}
    assert both.ask("GET", "/ready").json == {"status": "ready"}
    assert both.ask("POST", "/health", {}).status == 405
    assert both.ask("GET", "/").data.startswith(b"<!doctype html>")
    for path in ("/health", "/ready", "/metrics"):  # that it asks the replicas is no request of anybody's
        assert both.metric("gptsmith_requests_total", route=path).keys() == {"0"}


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell")
def test_weights_are_in_memory_once(both: Asking) -> None:
    for replica in both.server.keeper.replicas:
        smaps = Path(f"/proc/{replica.process.pid}/smaps").read_text(encoding="utf-8")
        (mapping,) = re.findall(r"^[0-9a-f]+-.*model\.safetensors\n(?:[A-Z].*\n)+", smaps, re.MULTILINE)
        kilobytes = {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB", mapping, re.MULTILINE)}
        assert kilobytes["Rss"] > 0
        assert kilobytes["Private_Dirty"] == 0


@pytest.mark.story
def test_a_client_that_reads_late_gets_all(both: Asking) -> None:
    connection, response = both.stream()
    until(lambda: both.num_active() == [0, 0], "all is written")
    assert response.read().endswith(b"data: [DONE]\n\n")
    connection.close()
    assert isinstance(response, http.client.HTTPResponse)
