"""A body is bounded before it is read, and only its first error is looked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from gptsmith.serve import parsing
from gptsmith.serve.errors import ApiError
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.serve.openai.schemas.completions import CompletionRequest
from gptsmith.serve.openai.schemas.responses import ResponsesRequest
from gptsmith.serve.parsing import MAX_NAMED_ERRORS, MAX_NAMES, MAX_OBJECTS, MAX_VALUES, parse_body
from gptsmith.serve.routes import ROUTES

from .conftest import Served

TURN = b'{"role":"user","content":"a"}'


def joined(before: bytes, unit: bytes, count: int, after: bytes) -> bytes:
    return before + b",".join([unit] * count) + after


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (ResponsesRequest, joined(b'{"model":"a","input":[', b"{}", MAX_OBJECTS, b"]}")),
        (ChatCompletionRequest, joined(b'{"model":"a","messages":[', TURN, MAX_OBJECTS, b"]}")),
        (CompletionRequest, joined(b'{"model":"a","prompt":[', b"[]", MAX_OBJECTS, b"]}")),
        (CompletionRequest, joined(b'{"model":"a","prompt":[', b"1", MAX_VALUES + 2, b"]}")),
        (CompletionRequest, joined(b'{"model":"a","prompt":["{",', b'""', MAX_VALUES + 2, b"]}")),
        (CompletionRequest, joined(b'{"model":"a","logit_bias":{', b'"1":1', MAX_NAMES, b"}}")),
    ],
)
def test_a_body_of_too_many_parts_is_refused_unread(
    kind: type[BaseModel], body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "from_json", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(ApiError, match="more than") as caught:
        parse_body(body, kind)  # type: ignore[type-var]
    assert (caught.value.status, caught.value.code) == (400, "request_too_large")


def test_signs_within_strings_are_text() -> None:
    prompt = '{[,:"\\' * 50_000
    assert parse_body(json.dumps({"model": "a", "prompt": prompt}).encode(), CompletionRequest).prompt == prompt


def test_many_wrong_fields_are_counted_and_not_listed() -> None:
    body: dict[str, Any] = {"model": "a", **{f"k{number}": 1 for number in range(MAX_NAMED_ERRORS + 1)}}
    with pytest.raises(ApiError, match="wrong fields"):
        parse_body(json.dumps(body).encode(), CompletionRequest)


def test_every_list_of_every_body_stops_at_its_first_error() -> None:
    seen = 0

    def walk(part: Any) -> None:
        nonlocal seen
        if isinstance(part, dict):
            if part.get("type") in ("list", "tuple", "set"):
                seen += 1
                assert part["fail_fast"]
            for value in part.values():
                walk(value)
        elif isinstance(part, (list, tuple)):
            for value in part:
                walk(value)

    for route in ROUTES:
        if route.request_schema is not None:
            walk(route.request_schema.__pydantic_core_schema__)
    assert seen > 20


def test_a_prompt_that_certainly_does_not_fit_is_not_encoded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = served.state.models.loaded["chat"].tokenizer
    text = "a b " * 100_000
    messages = [{"role": "user", "content": text}]
    monkeypatch.setattr("gptsmith.text.tokenizer.backend_ids", lambda *_: pytest.fail("it was encoded"))
    assert tokenizer is not None
    for path, body, param in (
        ("/v1/completions", {"prompt": text}, "prompt"),
        ("/v1/embeddings", {"input": text}, "input"),
        ("/v1/chat/completions", {"messages": messages}, "messages"),
        ("/v1/chat/completions", {"messages": messages, "truncation": "auto"}, "messages"),
        ("/v1/responses", {"input": text}, "input"),
    ):
        answer = served.ask("POST", path, {"model": "chat", **body})
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
        assert "at least" in answer.error["message"]
        assert answer.error["param"] == param


def test_every_private_character_and_a_special_token_are_answered(served: Served) -> None:
    text = "".join(map(chr, range(0xF0000, 0xFFFFE))) + "<|im_end|>"
    messages = [{"role": "user", "content": text}]
    answer = served.ask("POST", "/v1/chat/completions", {"model": "chat", "messages": messages})
    assert answer.status == 400
    assert "private" in answer.error["message"]


def test_a_stop_iteration_anywhere_is_an_answer(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        next(iter(()))

    model = served.state.models.loaded["chat"]
    monkeypatch.setattr(model.tokenizer, "prompt_ids", stop)
    assert served.ask("POST", "/v1/completions", {"model": "chat", "prompt": "a"}).status == 500
    monkeypatch.undo()
    monkeypatch.setattr(model.engine.model, "hidden", stop)
    assert served.ask("POST", "/v1/embeddings", {"model": "chat", "input": "a"}).status == 500
