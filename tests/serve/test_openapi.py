"""The API's document, and requests that are made from it: what it allows is answered, what it does not is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import InvalidArgument, Unsatisfiable
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params
from schemathesis.specs.openapi.checks import positive_data_acceptance

from gptsmith.serve.chat.schemas.common import Schema
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.serve.openai.schemas.completions import CompletionRequest

from .conftest import Served, serving

EXAMPLES = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

LEAST = {
    "/v1/completions": {"model": "base"},
    "/v1/chat/completions": {"model": "chat", "messages": [{"role": "user", "content": "a"}]},
    "/v1/responses": {"model": "chat", "input": "a"},
    "/v1/messages": {"model": "chat", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1},
    "/v1/messages/count_tokens": {"model": "chat", "messages": [{"role": "user", "content": "a"}]},
    "/v1/embeddings": {"model": "base", "input": "a"},
    "/v1/classify": {"model": "labels", "input": "a"},
    "/v1/explain": {"model": "base", "prompt": "a", "reply": "b", "start": 0, "methods": ["alternatives"]},
    "/v1/trace": {"model": "base", "text": "a"},
    "/tokenize": {"model": "base", "prompt": "a"},
    "/detokenize": {"model": "base", "tokens": [1]},
    "/api/chat": {"model": "chat", "messages": [{"role": "user", "content": "a"}]},
    "/api/generate": {"model": "base", "prompt": "a"},
    "/api/embed": {"model": "base", "input": "a"},
    "/api/show": {"model": "base"},
}
"""The least that each route takes."""


@pytest.fixture(scope="module")
def bounded(runs: Path) -> Iterator[Served]:
    """A server whose answers are short, whatever is asked."""
    with serving([str(runs / name) for name in ("chat", "base", "labels")], timeout_s=0.5) as running:
        yield running


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=str)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/completions"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/classify"),
        ("POST", "/v1/explain"),
        ("POST", "/v1/trace"),
        ("POST", "/tokenize"),
        ("POST", "/detokenize"),
        ("POST", "/api/chat"),
        ("POST", "/api/generate"),
        ("POST", "/api/embed"),
        ("POST", "/api/show"),
        ("GET", "/api/tags"),
        ("GET", "/api/ps"),
        ("GET", "/api/version"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/{name}"),
        ("GET", "/health"),
    ],
)
def test_what_is_sent_is_answered_as_the_document_says(
    bounded: Served, method: str, path: str, mode: schemathesis.GenerationMode
) -> None:
    document = schemathesis.openapi.from_dict(bounded.ask("GET", "/openapi.json").json)
    operation = document[path][method]

    @EXAMPLES
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        response = case.call(base_url=bounded.address)
        # Rules between fields, and the length of the context, are in no schema: these are a 400 too.
        case.validate_response(response, excluded_checks=[positive_data_acceptance])

    try:
        ask()
    except (InvalidArgument, Unsatisfiable):  # there is nothing to get wrong
        assert method == "GET"
        return
    # Requests by chance may all break a rule that is in no schema: the least that a route takes does not.
    if mode is schemathesis.GenerationMode.POSITIVE:
        assert bounded.ask(method, path.format(name="chat"), LEAST.get(path)).status == 200


def test_the_document_is_of_what_is_checked(bounded: Served) -> None:
    document = bounded.ask("GET", "/openapi.json").json
    body = document["components"]["schemas"]["ChatCompletionRequest"]
    assert body["additionalProperties"] is False
    assert body["required"] == ["messages"]
    assert {"continue_final_message", "min_p", "tools", "response_format"} <= body["properties"].keys()
    assert body["properties"]["model"]["anyOf"][0]["enum"] == ["chat"]
    assert set(document["paths"]) >= {"/v1/completions", "/v1/responses", "/tokenize", "/health"}


@pytest.mark.parametrize(
    ("body", "theirs"),
    [
        (CompletionRequest, completion_create_params.CompletionCreateParamsBase),
        (ChatCompletionRequest, chat_create_params.CompletionCreateParamsBase),
    ],
)
def test_every_field_of_openais_own_client_is_known(body: type[Schema], theirs: type) -> None:
    assert set(get_type_hints(theirs)) - {"stream"} <= body.model_fields.keys()
