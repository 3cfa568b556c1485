"""One request never stops the others: what takes long is cut into slices, and is not done on the thread of the loop."""

from __future__ import annotations

import gc
import json
import math
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI

from gptsmith.serve import json_slices, running
from gptsmith.serve.chat import generation
from gptsmith.serve.json_slices import SLICE, json_bytes
from gptsmith.serve.openai import chat, completions, embeddings, tokenize
from gptsmith.serve.openai import responses as responses_file

from .conftest import QUESTION, Served

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
)


@given(value=VALUES, count=st.integers(0, 2 * SLICE + 1))
def test_json_in_slices_is_json(value: Any, count: int) -> None:
    whole = {"a": [value] * count, "b": {"c": [[{"d": [value] * count}], value]}}
    assert json.loads(json_bytes(whole)) == whole


def test_numbers_that_are_not_finite_are_null() -> None:
    assert json_bytes([math.nan, *[-math.inf] * SLICE]) == b"[" + b",".join([b"null"] * (SLICE + 1)) + b"]"


def test_no_slice_of_json_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    written = json_slices._written

    def size(value: Any) -> int:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return 1 + sum(map(size, parts))

    def counted(value: Any) -> bytes:
        nonlocal most
        most = max(most, size(value))
        return written(value)

    monkeypatch.setattr(json_slices, "_written", counted)
    one = {"token": "a", "bytes": [97], "top_logprobs": [{"token": "a", "bytes": [97]}] * 20}
    json_bytes({"choices": [{"index": 0, "logprobs": {"content": [one] * 2000}}] * 8, "tokens": list(range(100_000))})
    assert most <= SLICE * size(one) + 1


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that write JSON and log-probabilities, with many of them being more than five."""
    names: list[str] = []

    def noted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            names.append(threading.current_thread().name)
            return function(*given, **more)

        return call

    monkeypatch.setattr(generation, "MANY_LOGPROBS", 5)
    monkeypatch.setattr(completions, "completion_logprobs", noted(completions.completion_logprobs))
    monkeypatch.setattr(chat, "chat_logprob", noted(chat.chat_logprob))
    monkeypatch.setattr(responses_file, "chat_logprob", noted(responses_file.chat_logprob))
    for module in (generation, embeddings, tokenize):
        monkeypatch.setattr(module, "json_bytes", noted(json_bytes))
    return names


def test_an_answer_with_many_log_probabilities_is_written_on_another_thread(served: Served, writers: list[str]) -> None:
    body = {"model": "base", "prompt": "The smith", "max_tokens": 8, "echo": True, "logprobs": 5, "ignore_eos": True}
    assert served.ask("POST", "/v1/completions", body).status == 200
    talk = {"model": "chat", "messages": QUESTION, "logprobs": True, "top_logprobs": 5, "max_tokens": 8}
    assert served.ask("POST", "/v1/chat/completions", talk).status == 200
    assert writers
    assert all(name.startswith("reader") for name in writers)


def test_so_are_the_parts_of_a_stream_that_have_many(served: Served, client: OpenAI, writers: list[str]) -> None:
    list(client.completions.create(model="base", prompt="The smith", max_tokens=1, echo=True, logprobs=5, stream=True))
    assert all(name.startswith("reader") for name in writers)
    writers.clear()
    stream = client.responses.create(
        model="chat", input=QUESTION, stream=True, top_logprobs=5, max_output_tokens=20, store=False,
        include=["message.output_text.logprobs"],
    )  # fmt: skip
    list(stream)
    assert all(name.startswith("reader") for name in writers)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"prompt": "The smith", "return_token_strs": True}),
        ("/detokenize", {"tokens": [40, 41]}),
        ("/v1/embeddings", {"input": ["The smith", "a nail"]}),
    ],
)
def test_answers_as_long_as_their_request_are_written_there_too(
    served: Served, writers: list[str], path: str, body: dict[str, Any]
) -> None:
    assert served.ask("POST", path, {"model": "base", **body}).status == 200
    assert writers
    assert all(name.startswith("reader") for name in writers)


def test_a_server_of_its_own_process_exempts_what_is_there_from_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    settings = SimpleNamespace(drain_s=1.0)
    server = SimpleNamespace(
        models=["base"],
        address="http://127.0.0.1:8000",
        _state=SimpleNamespace(settings=settings, models=SimpleNamespace(loaded={})),
        _server=SimpleNamespace(state=SimpleNamespace(settings=settings)),
        _serve=lambda: found.append(gc.get_freeze_count()),
    )
    server.serve_here = lambda: running.Server.serve_here(server)  # type: ignore[arg-type]
    monkeypatch.setattr(gc, "collect", lambda: 0)
    try:
        running.Server.run(server)  # type: ignore[arg-type]
    finally:
        gc.unfreeze()
    assert found[0] > 0
