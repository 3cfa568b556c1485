"""Many people at once, and those who leave, do not listen, or come when it is full."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import resource
import socket
import threading
import time
import tracemalloc
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI, InternalServerError, RateLimitError

from gptsmith.base.machine import memory_bytes
from gptsmith.generate import sampler
from gptsmith.generate.request import OutputChunk
from gptsmith.serve import server
from gptsmith.serve.server import max_connections

from .conftest import QUESTION, Served, serving, until

WEIGHT_BYTES = 500_000
LONG: dict[str, Any] = {"model": "base", "prompt": "The old", "max_tokens": 700, "ignore_eos": True}


def begin_stream(
    served: Served, body: dict[str, Any], receive_bytes: int | None = None, path: str = "/v1/completions"
) -> socket.socket:
    """A connection on which a stream was asked for."""
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", served.port))
    data = json.dumps({**body, "stream": True}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def read_to_the_end(stream: socket.socket, problem: bytes = b"") -> bool:
    """Whether a stream came to its end; `problem` must be in one that did not."""
    seen = b""
    with stream:
        while b"[DONE]" not in seen:
            try:
                data = stream.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                assert problem in seen
                return False
            seen += data
    return True


def test_sixty_four_clients_each_get_what_they_would_alone(served: Served) -> None:
    prompts = [f"The {word} smith {number}" for number in range(8) for word in ("old", "young")]
    alone = [
        served.client().completions.create(model="base", prompt=prompt, max_tokens=10, seed=3).choices[0].text
        for prompt in prompts
    ]

    async def ask(client: AsyncOpenAI, number: int) -> str:
        prompt = prompts[number % len(prompts)]
        asked: dict[str, Any] = {"model": "base", "prompt": prompt, "max_tokens": 10, "seed": 3}
        if number % 2:
            return (await client.completions.create(**asked)).choices[0].text
        stream = await client.completions.create(**asked, stream=True)
        return "".join([chunk.choices[0].text async for chunk in stream])

    async def all_at_once() -> list[str]:
        async with AsyncOpenAI(base_url=f"{served.address}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(64)))

    assert asyncio.run(all_at_once()) == [alone[number % len(prompts)] for number in range(64)]


@pytest.mark.story
def test_streams_that_are_left_free_their_places_and_memory(served: Served) -> None:
    def leave(count: int) -> None:
        for number in range(count):
            connection = begin_stream(served, LONG)
            if number % 3:
                assert connection.recv(10)
            connection.close()
        until(served.is_idle, "what nobody listens to has ended")

    leave(20)  # what is made once is made now
    gc.collect()
    tracemalloc.start()
    leave(20)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    leave(200)
    gc.collect()
    grown_bytes = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert served.gauge("gptsmith_num_requests_running") == served.gauge("gptsmith_num_requests_waiting") == 0
    assert served.gauge("gptsmith_requests_in_progress") == 1  # the question itself
    assert grown_bytes < 400_000
    until(lambda: not served.running.server_state.tasks, "no task is left")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell what memory is used now")
@pytest.mark.story
def test_the_process_is_no_larger_after_hundreds_of_streams_that_were_left(served: Served) -> None:
    # A request weighs much, so that a few that stayed would show; a grammar is memory that Python does not count.
    schema = {"type": "object", "properties": {f"name{number}": {"type": "string"} for number in range(50)}}
    form = {"type": "json_schema", "json_schema": {"name": "much", "schema": schema}}
    body = {
        "model": "chat",
        "messages": QUESTION,
        "response_format": form,
        "max_tokens": 600,
        "user": "a" * WEIGHT_BYTES,
    }

    def leave(count: int) -> None:
        for number in range(count):
            connection = begin_stream(served, body, path="/v1/chat/completions")
            if number % 3:
                assert connection.recv(10)
            connection.close()
            if number % 10 == 9:
                until(served.is_idle, "what nobody listens to has ended")
        gc.collect()

    leave(100)  # what is made once is made now
    before = memory_bytes()
    leave(300)
    after = memory_bytes()
    assert before is not None
    assert after is not None
    assert after - before < 20 * WEIGHT_BYTES
    assert served.gauge("gptsmith_num_requests_running") == served.gauge("gptsmith_num_requests_waiting") == 0


def test_a_whole_answer_that_is_left_is_not_written_on(served: Served) -> None:
    data = json.dumps(LONG).encode()
    connection = socket.create_connection(("127.0.0.1", served.port))
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    before = served.state.models.loaded["base"].engine.figures().num_tokens
    connection.sendall(head.encode() + data)
    until(lambda: served.state.models.loaded["base"].engine.figures().running > 0, "it is being written")
    connection.close()
    until(served.is_idle, "it is not written on")
    assert served.state.models.loaded["base"].engine.figures().num_tokens - before < LONG["max_tokens"]


def test_a_full_queue_says_when_to_come_again(runs: Path) -> None:
    with serving([str(runs / "base")], max_num_seqs=1, max_queue_size=1) as running:
        engine = running.state.models.loaded["base"].engine
        gate = threading.Event()
        held = engine.call(lambda: gate.wait(60))
        streams = [begin_stream(running, {**LONG, "max_tokens": 3}) for _ in range(2)]
        until(lambda: running.state.models.loaded["base"].num_reserved == 2, "both have their places")
        answer = running.ask("POST", "/v1/completions", LONG)
        assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (429, "queue_full", "1")
        ready = running.ask("GET", "/ready")
        assert (ready.status, ready.json) == (503, {"status": "full"})
        two = running.ask("POST", "/v1/completions", {**LONG, "n": 3})
        assert (two.status, two.error["param"]) == (400, "n")
        with pytest.raises(RateLimitError):
            running.client().completions.create(model="base", prompt="a")
        threading.Timer(0.2, gate.set).start()
        # The client comes again by itself, as it was told.
        text = running.client(max_retries=2).completions.create(model="base", prompt="a", max_tokens=2)
        assert text.choices
        assert held.result()
        for stream in streams:
            assert read_to_the_end(stream)
        until(running.is_idle, "all has ended")


def test_a_long_silence_is_broken_by_pings(runs: Path) -> None:
    with serving([str(runs / "base")], ping_s=0.05) as running:
        gate = threading.Event()
        running.state.models.loaded["base"].engine.call(lambda: gate.wait(60))
        stream = begin_stream(running, {**LONG, "max_tokens": 3})
        seen = b""
        while seen.count(b": ping\n\n") < 3:
            seen += stream.recv(4096)
        gate.set()
        assert read_to_the_end(stream)


def test_a_text_that_takes_too_long_ends_with_what_there_is(runs: Path) -> None:
    with serving([str(runs / "base")], timeout_s=0.3) as running:
        engine = running.state.models.loaded["base"].engine
        engine.on_pass = lambda: time.sleep(0.05)
        choice = running.client().completions.create(
            model="base", prompt="The", max_tokens=600, extra_body={"ignore_eos": True}
        ).choices[0]  # fmt: skip
        assert choice.finish_reason == "length"
        assert choice.text
        gate = threading.Event()
        engine.call(lambda: gate.wait(60))
        with pytest.raises(RateLimitError):
            running.client().completions.create(model="base", prompt="The")
        gate.set()
        until(running.is_idle, "nothing is written any more")


def test_those_who_do_not_listen_hold_up_nobody(runs: Path) -> None:
    # Much is said of each token, so that it does not fit in what the network holds for a client.
    body = {**LONG, "logprobs": 20, "max_tokens": 600}
    with serving([str(runs / "base")], send_bytes=4096, max_num_seqs=1, stall_timeout_s=0.3) as running:
        deaf = begin_stream(running, body, receive_bytes=2048)
        until(lambda: running.state.models.loaded["base"].num_reserved == 1, "it was asked for")
        assert running.client().completions.create(model="base", prompt="a", max_tokens=2).choices
        until(running.is_idle, "the connection was cut")
        assert not read_to_the_end(deaf)
    with serving([str(runs / "base")], send_bytes=4096, max_num_seqs=1) as running:
        assert read_to_the_end(begin_stream(running, body, receive_bytes=2048))


def test_a_long_prompt_of_one_person_does_not_delay_the_short_one_of_another(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = served.state.models.loaded["base"].tokenizer
    read, gate, has_begun = tokenizer.prompt_ids, threading.Event(), threading.Event()

    def slow(text: str, *more: Any) -> list[int]:
        if text == "long":
            has_begun.set()
            assert gate.wait(60)
        return read(text, *more)

    monkeypatch.setattr(tokenizer, "prompt_ids", slow)
    long = begin_stream(served, {**LONG, "prompt": "long", "max_tokens": 2})
    assert has_begun.wait(60)
    assert served.client().completions.create(model="base", prompt="short", max_tokens=2).choices
    gate.set()
    assert read_to_the_end(long)


def test_an_engine_that_fails_is_told_and_goes_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = served.state.models.loaded["chat"].engine

    def fail() -> None:
        raise RuntimeError("secretword")

    asked: dict[str, Any] = {"model": "chat", "messages": QUESTION, "max_tokens": 3}
    with monkeypatch.context() as patch:
        patch.setattr(engine, "on_pass", fail)
        with pytest.raises(InternalServerError) as caught:
            served.client().chat.completions.create(**asked)
        assert caught.value.code == "engine_error"
        assert "secretword" not in str(caught.value)
        with pytest.raises(APIError, match="failed"):
            list(served.client().chat.completions.create(**asked, stream=True))
        events = list(served.client().responses.create(model="chat", input="a", stream=True))
        assert events[-1].type == "response.failed"
    assert served.client().chat.completions.create(**asked).choices


@pytest.mark.parametrize(
    ("more", "status"),
    [({"temperature": 1e-300}, 200), ({"top_p": 1e-46}, 200), ({"repetition_penalty": 1e-42}, 400)],
)
def test_numbers_too_small_for_float32_end_nobodys_text(served: Served, more: dict[str, float], status: int) -> None:
    stream = begin_stream(served, {**LONG, "max_tokens": 40})
    answer = served.ask("POST", "/v1/completions", {"model": "base", "prompt": "a", "max_tokens": 4, **more})
    assert answer.status == status
    if status == 400:
        assert answer.error["param"] == "repetition_penalty"
    assert read_to_the_end(stream)


def test_the_log_says_why_a_text_failed_and_not_what_it_says(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("secretword")

    monkeypatch.setattr(sampler, "process_logits", fail)
    body = {"model": "base", "prompt": "a", "max_tokens": 4, "logit_bias": {"1": 1}}
    with caplog.at_level(logging.ERROR, "gptsmith.serve"):
        assert served.ask("POST", "/v1/completions", body).status == 500
    assert "KeyError at" in caplog.text
    assert "secretword" not in caplog.text


def test_small_answers_are_sent_at_once(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port)):
        until(lambda: bool(served.running.server_state.connections), "the connection was accepted")
        accepted = [each.transport.get_extra_info("socket") for each in served.running.server_state.connections]
        assert all(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for each in accepted)


def test_silent_connections_make_room_for_those_who_ask(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "max_connections", lambda: 20)
    with serving([str(runs / "base")]) as running:
        stream = begin_stream(running, {**LONG, "max_tokens": 60})
        silent = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(60)]
        for _ in range(5):
            assert running.ask("GET", "/health").status == 200
        assert len(running.running.server_state.connections) <= 21
        assert read_to_the_end(stream)
        for each in silent:
            each.close()


def test_connections_leave_files_for_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(256, 256)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[0])
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: limits.__setitem__(0, given))
    for hard, expected in ((256, 64), (64, 16), (1024, 768), (10**6, 10_000), (resource.RLIM_INFINITY, 10_000)):
        limits[0] = (min(256, hard) if hard > 0 else 256, hard)
        assert max_connections() == expected


def test_a_client_is_told_when_half_of_the_queue_will_be_free(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    model = served.state.models.loaded["base"]
    now = [0.0]
    monkeypatch.setattr(model, "clock", lambda: now[0])
    monkeypatch.setattr(model, "_ended", deque(maxlen=32))
    assert model.retry_after_s() == 1
    for _ in range(10):
        with model.reserved(1):
            now[0] += 2.0
    monkeypatch.setattr(model, "num_reserved", 20)
    assert model.retry_after_s() == 18  # ten places at 18 s in 10
    monkeypatch.setattr(model, "num_reserved", 200)
    assert model.retry_after_s() == 60
    monkeypatch.setattr(model, "num_reserved", model.settings.max_sequences)
    answer = served.ask("POST", "/v1/completions", {"model": "base", "prompt": "a"})
    assert (answer.status, answer.headers["retry-after"]) == (429, "60")


def test_chunks_for_a_loop_that_has_ended_are_dropped(served: Served) -> None:
    from gptsmith.serve.chat.streaming import SequenceGroup

    async def make() -> SequenceGroup:
        return SequenceGroup(served.state.models.loaded["base"], served.state.metrics, {})

    group = asyncio.run(make())
    group.deliver(0, OutputChunk("late"))


def test_at_the_end_running_texts_are_finished_and_new_ones_refused(runs: Path) -> None:
    with serving([str(runs / "base")], drain_s=60) as running:
        gate = threading.Event()
        running.state.models.loaded["base"].engine.call(lambda: gate.wait(60))
        stream = begin_stream(running, {**LONG, "max_tokens": 5})
        until(lambda: running.state.models.loaded["base"].num_reserved == 1, "it was asked for")
        running.running.drain()
        health, ready = (running.ask("GET", path) for path in ("/health", "/ready"))
        assert (health.status, health.json) == (200, {"status": "draining"})
        assert (ready.status, ready.json) == (503, {"status": "draining"})
        refused = running.ask("POST", "/v1/completions", LONG)
        assert (refused.status, refused.error["code"]) == (503, "shutting_down")
        assert "retry-after" in refused.headers
        gate.set()
        assert read_to_the_end(stream)
        until(lambda: running.running.should_exit, "it ends by itself")


def test_at_the_deadline_what_is_left_is_cut_off(runs: Path) -> None:
    with serving([str(runs / "base")], drain_s=0.1) as running:
        engine = running.state.models.loaded["base"].engine
        engine.on_pass = lambda: time.sleep(0.05)
        stream = begin_stream(running, LONG)
        assert stream.recv(10)
        running.running.drain()
        assert not read_to_the_end(stream, b"shutting_down")
