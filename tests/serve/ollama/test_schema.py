"""Everything that Ollama's own client can send is honoured, passed over as a hint, or refused by its name."""

from __future__ import annotations

from typing import Any

import ollama
import pytest
from ollama import _types as theirs
from pydantic import BaseModel

from gptsmith.serve.ollama import schemas
from gptsmith.serve.ollama.request_mapping import sampling_fields
from gptsmith.serve.ollama.routes import OLLAMA_ROUTES

from ..conftest import QUESTION, Served
from .test_client import GREEDY

OURS: dict[type[BaseModel], type[BaseModel]] = {
    theirs.Options: schemas.OllamaOptions,
    theirs.GenerateRequest: schemas.OllamaGenerateRequest,
    theirs.ChatRequest: schemas.OllamaChatRequest,
    theirs.EmbedRequest: schemas.OllamaEmbedRequest,
    theirs.EmbeddingsRequest: schemas.OllamaEmbeddingsRequest,
    theirs.ShowRequest: schemas.OllamaShowRequest,
    theirs.Message: schemas.OllamaMessage,
    theirs.Message.ToolCall: schemas.OllamaToolCall,
    theirs.Message.ToolCall.Function: schemas.OllamaCalledFunction,
    theirs.Tool: schemas.FunctionTool,
    theirs.Tool.Function: schemas.FunctionTool.model_fields["function"].annotation,  # type: ignore[dict-item]
}


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__qualname__)
def test_every_field_is_known(kind: type[BaseModel]) -> None:
    assert kind.model_fields.keys() <= OURS[kind].model_fields.keys()


def test_every_method_of_the_client_has_a_route() -> None:
    paths = {route.path.removeprefix("/api/") for route in OLLAMA_ROUTES}
    names = {"list": "tags"}
    elsewhere = {"close", "create_blob", "systemone", "web_fetch", "web_search"}  # of files, and of ollama.com
    methods = {name for name in dir(ollama.Client) if not name.startswith("_")} - elsewhere
    assert {names.get(name, name) for name in methods} <= paths


def fields(**options: Any) -> dict[str, Any]:
    return sampling_fields(schemas.OllamaChatRequest.model_validate({"model": "chat", "options": options}))


def test_penalties_count_all_tokens_or_none() -> None:
    assert fields(repeat_last_n=64) == fields(repeat_last_n=-1) == fields()
    off = fields(repeat_last_n=0, repeat_penalty=1.2)
    assert (off["repeat_penalty"], off["presence_penalty"], off["frequency_penalty"]) == (1, 0, 0)
    for name in ("repeat_penalty", "presence_penalty", "frequency_penalty"):
        with pytest.raises(Exception, match=r"options\.repeat_last_n: penalties count all tokens here"):
            fields(repeat_last_n=64, **{name: 1.2})
        assert fields(repeat_last_n=-1, **{name: 1.2})[name] == 1.2


def test_log_probabilities_are_those_of_openais_api(served: Served) -> None:
    asked: Any = {"model": "chat", "messages": QUESTION, "temperature": 0, "max_tokens": 6}
    answer = served.ask("POST", "/v1/chat/completions", {**asked, "logprobs": True, "top_logprobs": 2}).json
    expected = answer["choices"][0]["logprobs"]["content"]
    wanted = {"options": {**GREEDY, "num_predict": 6}, "logprobs": True, "top_logprobs": 2}
    client = ollama.Client(served.address)
    try:
        whole = client.chat("chat", QUESTION, **wanted)
        assert whole.logprobs is not None
        assert [one.token for one in whole.logprobs] == [one["token"] for one in expected]
        # The last bits depend on which part of the prompt was in the cache.
        assert [one.logprob for one in whole.logprobs] == pytest.approx([one["logprob"] for one in expected], abs=1e-5)
        assert [len(one.top_logprobs or ()) for one in whole.logprobs] == [2] * len(expected)
        parts = client.chat("chat", QUESTION, stream=True, **wanted)
        assert [one.token for part in parts for one in part.logprobs or ()] == [one["token"] for one in expected]
        raw = client.generate("chat", "The", raw=True, **wanted)
        assert raw.logprobs is not None
        assert len(raw.logprobs) == raw.eval_count
        assert client.generate("chat", "The", options=wanted["options"]).logprobs is None
    finally:
        client.close()


def test_the_older_embeddings_are_the_states_as_they_are(served: Served) -> None:
    body = {"model": "base", "input": "a nail", "normalize": False}
    expected = served.ask("POST", "/v1/embeddings", body).json["data"][0]["embedding"]
    client = ollama.Client(served.address)
    try:
        assert list(client.embeddings("base", "a nail").embedding) == pytest.approx(expected)
        assert list(client.embeddings("base").embedding) == []
    finally:
        client.close()
