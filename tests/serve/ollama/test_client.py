"""Ollama's own client against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from gptsmith.serve.chat.answer import Thoughts
from gptsmith.serve.chat.tools import ToolCall
from gptsmith.serve.ollama.answers import AnswerForm

from ..conftest import QUESTION, Served

GREEDY = {"temperature": 0, "num_predict": 24}
SCHEMA = {"type": "object", "properties": {"tool": {"enum": ["nail", "sword"]}}, "required": ["tool"]}
FORGE: dict[str, Any] = {
    "type": "function",
    "function": {"name": "forge", "parameters": {"type": "object", "properties": {"tool": {"enum": ["nail"]}}}},
}


@pytest.fixture
def smith(served: Served) -> Iterator[ollama.Client]:
    client = ollama.Client(served.address)
    yield client
    client.close()


@pytest.fixture
def openai_text(served: Served) -> str:
    answer = served.client().chat.completions.create(model="chat", messages=QUESTION, temperature=0, max_tokens=24)  # type: ignore[call-overload]
    return str(answer.choices[0].message.content)


@pytest.mark.parametrize("model", ["chat", "chat:latest"])
def test_the_text_is_that_of_openais_api(smith: ollama.Client, openai_text: str, model: str) -> None:
    answer = smith.chat(model, QUESTION, options=GREEDY, keep_alive="5m")
    assert answer.message.content == openai_text
    assert answer.model == model
    assert answer.done
    assert answer.done_reason in ("stop", "length")
    parts = list(smith.chat(model, QUESTION, options=GREEDY, stream=True))
    assert "".join(part.message.content or "" for part in parts) == openai_text
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == answer.eval_count
    assert smith.generate(model, QUESTION[0]["content"], options=GREEDY).response == openai_text


def test_counts_and_durations_are_of_this_answer(smith: ollama.Client, served: Served) -> None:
    answer = smith.generate("base", "The old", options={"temperature": 0, "num_predict": 5})
    usage = served.client().completions.create(model="base", prompt="The old", temperature=0, max_tokens=5).usage
    assert usage is not None
    assert (answer.prompt_eval_count, answer.eval_count) == (usage.prompt_tokens, usage.completion_tokens)
    assert answer.total_duration
    assert answer.prompt_eval_duration
    assert answer.eval_duration
    assert abs(answer.total_duration - answer.prompt_eval_duration - answer.eval_duration) <= 1


def test_a_base_model_and_raw_continue_the_text(smith: ollama.Client, served: Served) -> None:
    for model in ("base", "chat"):
        theirs = served.client().completions.create(model=model, prompt="The old", temperature=0, max_tokens=8)
        parts = smith.generate(model, "The old", raw=True, options={**GREEDY, "num_predict": 8}, stream=True)
        assert "".join(part.response or "" for part in parts) == theirs.choices[0].text


def test_formats(smith: ollama.Client) -> None:
    options = {"seed": 1, "num_predict": 60}
    answer = smith.chat("chat", QUESTION, format=SCHEMA, options=options)
    assert json.loads(answer.message.content or "")["tool"] in ("nail", "sword")
    for raw in (False, True):
        given = smith.generate("chat", "a nail?", format=SCHEMA, raw=raw, options=options)
        assert json.loads(given.response or "")["tool"] in ("nail", "sword")


def test_the_output_of_a_tool_is_read(smith: ollama.Client) -> None:
    call = {"function": {"name": "forge", "arguments": {"tool": "nail"}}}
    turns = [
        *QUESTION,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "forge", "content": "done"},
    ]
    assert smith.chat("chat", turns, tools=[FORGE], options=GREEDY).done
    with pytest.raises(ollama.ResponseError, match="no call before it"):
        smith.chat("chat", [*QUESTION, {"role": "tool", "content": "done"}])


def test_a_call_is_one_that_the_client_reads() -> None:
    call = ToolCall("forge", '{"tool": "nail"}', is_custom=False)
    answer = ollama.ChatResponse(**AnswerForm("chat", is_chat=True).line([Thoughts("Hm."), call]))
    assert answer.message.thinking == "Hm."
    assert answer.message.tool_calls is not None
    assert answer.message.tool_calls[0].function.arguments == {"tool": "nail"}


def test_models(smith: ollama.Client, served: Served) -> None:
    listed = smith.list().models
    assert {model.model for model in listed} == {"base:latest", "chat:latest", "adapted:latest"}
    assert {model.model for model in smith.ps().models} == {model.model for model in listed}
    assert all(model.size for model in listed)
    shown = smith.show("chat:latest")
    assert shown.capabilities == ["completion", "embedding", "tools"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["gptsmith.context_length"] == served.state.models.loaded["chat"].context_length
    assert "version" in served.ask("GET", "/api/version").json


def test_embeddings_are_those_of_openais_api(smith: ollama.Client, served: Served) -> None:
    answer = smith.embed("base", ["a nail", "a sword"])
    theirs = served.client().embeddings.create(model="base", input=["a nail", "a sword"], encoding_format="float")
    for row, expected in zip(answer.embeddings, theirs.data, strict=True):
        assert list(row) == pytest.approx(expected.embedding)
    assert answer.prompt_eval_count == theirs.usage.prompt_tokens
    assert len(smith.embed("base", "nail " * 3000).embeddings) == 1
    with pytest.raises(ollama.ResponseError, match="context"):
        smith.embed("base", "nail " * 3000, truncate=False)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/api/chat", {"model": "none", "messages": QUESTION}, "no model of that name"),
        ("/api/chat", {"model": "base", "messages": QUESTION}, "base model"),
        ("/api/chat", {"model": "chat", "messages": [{**QUESTION[0], "images": ["aGk="]}]}, "messages.0.images"),
        ("/api/chat", {"model": "chat", "messages": QUESTION, "options": {"mirostat": 2}}, "options.mirostat"),
        ("/api/generate", {"model": "chat", "prompt": "a", "template": "b"}, "template"),
        ("/api/generate", {"model": "chat", "prompt": "a", "suffix": "b"}, "suffix"),
        ("/api/generate", {"model": "chat", "prompt": "a", "images": ["aGk="]}, "images"),
        ("/api/generate", {"model": "base", "prompt": "a", "system": "b"}, "system"),
        ("/api/pull", {"model": "chat"}, "gptsmith serve"),
        ("/api/create", {"model": "chat"}, "gptsmith serve"),
    ],
)
def test_errors_are_in_ollamas_form(served: Served, path: str, body: Any, message: str) -> None:
    answer = served.ask("POST", path, body)
    assert answer.status in (400, 404)
    assert answer.json.keys() == {"error"}
    assert message in answer.json["error"]


def test_a_request_without_a_prompt_loads(smith: ollama.Client) -> None:
    assert smith.generate("chat").done_reason == "load"
    assert smith.chat("chat").done_reason == "load"
