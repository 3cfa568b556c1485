"""Clients of other servers: what they send besides OpenAI's fields, and how errors name fields."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

from gptsmith.generate.request import Request
from gptsmith.serve.errors import ApiError
from gptsmith.serve.openai.chat import ChatCompletionJob
from gptsmith.serve.openai.responses import ResponseJob
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.serve.openai.schemas.responses import ResponsesRequest
from gptsmith.serve.parsing import parse_body
from gptsmith.text.chat_template import CHATML, ChatTemplate

from ..conftest import QUESTION, Served

CHAT: dict[str, Any] = {"model": "chat", "messages": QUESTION, "seed": 3, "max_tokens": 8}
F = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CACHED = {"type": "text", "text": "5: a nail?", "cache_control": {"type": "ephemeral"}}


def engine_request(served: Served, **fields: Any) -> Request:
    body = parse_body(json.dumps({**CHAT, **fields}).encode(), ChatCompletionRequest)
    (request,) = ChatCompletionJob(body, served.state.models.loaded["chat"]).requests()
    return request


@pytest.fixture
def given_template(served: Served, monkeypatch: pytest.MonkeyPatch) -> Any:
    loaded = served.state.models.loaded["chat"].loaded
    return lambda source: monkeypatch.setattr(loaded, "template", ChatTemplate(source))


@pytest.mark.parametrize(
    "fields",
    [
        {"cache_prompt": True, "id_slot": -1, "timings_per_token": False},
        {"keep_alive": "5m", "num_ctx": 4096, "num_thread": 2},
        {"typical_p": 1.0, "tfs_z": 1, "mirostat": 0, "mirostat_tau": 5.0, "repeat_last_n": -1, "repeat_penalty": 1.0},
        {"skip_special_tokens": True, "use_beam_search": False, "length_penalty": 1.0, "min_tokens": 0},
        {"top_p": 0},
        {"stop": ""},
        {"stop": ["", ""]},
        {"parallel_tool_calls": False},
        {"logprobs": False, "top_logprobs": 0},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"reasoning": {"exclude": False}, "thinking": {"type": "disabled"}, "think": False},
        {"functions": []},
        {"messages": [{"role": "user", "content": [CACHED]}]},
        {"messages": [{**QUESTION[0], "id": "m1", "metadata": {}, "timestamp": 5, "cache_control": None}]},
    ],
    ids=str,
)
def test_what_changes_no_text_is_passed_over(served: Served, fields: dict[str, Any]) -> None:
    assert engine_request(served, **fields) == engine_request(served)


def test_a_value_that_means_off_is_off(served: Served) -> None:
    model = served.state.models.loaded["chat"]
    for top_k in (0, -1):
        kept = engine_request(served, top_k=top_k).sampling.top_k
        assert kept is not None
        assert kept >= model.vocab_size
    for field in ("max_tokens", "max_completion_tokens"):
        fields = {"max_tokens": None, field: -1}
        assert engine_request(served, **fields).max_tokens == model.context_length
    assert engine_request(served, stop=["a", ""]).stop == ["a"]
    assert engine_request(served, seed=-1).seed != engine_request(served, seed=-1).seed
    assert engine_request(served, messages=[{"role": "user", "content": []}])


def test_fields_that_change_the_text_are_honoured_or_refused(served: Served, given_template: Any) -> None:
    assert (
        engine_request(served, repeat_penalty=1.5)
        == engine_request(served, repetition_penalty=1.5)
        != engine_request(served)
    )
    told = engine_request(served, reasoning_effort="low")
    assert engine_request(served, reasoning={"effort": "low"}) == told != engine_request(served)
    for name, value in (("typical_p", 0.5), ("mirostat", 2), ("min_tokens", 3), ("num_chickens", 1)):
        with pytest.raises(ApiError) as caught:
            engine_request(served, **{name: value})
        assert caught.value.param == name
    given_template(CHATML + "{% if enable_thinking is defined and not enable_thinking %}{{ 'quick' }}{% endif %}")
    plain = engine_request(served)
    quick = engine_request(served, chat_template_kwargs={"enable_thinking": False})
    assert quick != plain
    for fields in ({"enable_thinking": False}, {"think": False}, {"thinking": {"type": "disabled"}}):
        assert engine_request(served, **fields) == quick
    assert engine_request(served, reasoning={"enabled": False}) == quick
    body = {"model": "chat", "messages": QUESTION, "chat_template_kwargs": {"enable_thinking": False}}
    assert served.ask("POST", "/tokenize", body).json["tokens"] == list(quick.prompt_ids)


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_later_system_message_is_read_as_the_template_can(served: Served, given_template: Any, role: str) -> None:
    turns = [*QUESTION, {"role": "assistant", "content": "A nail."}]
    later = [{"role": "system", "content": "Be brief."}, *turns, {"role": role, "content": "Shout."}, *QUESTION]
    joined = [{"role": "system", "content": "Be brief.\n\nShout."}, *turns, *QUESTION]
    model = served.state.models.loaded["chat"]

    def prompt(messages: Any, **fields: Any) -> str:
        return model.tokenizer.decode(
            list(engine_request(served, messages=messages, **fields).prompt_ids), keep_special=True
        )

    assert "<|im_start|>system\nShout.<|im_end|>" in prompt(later)
    assert prompt(later, truncation="auto") == prompt(joined)
    refusing = (
        "{% for message in messages[1:] %}{% if message.role == 'system' %}"
        "{{ raise_exception('no') }}{% endif %}{% endfor %}"
    )
    ignoring = CHATML.replace(
        "{{ '<|im_start|>'", "{% if message.role != 'system' or loop.first %}{{ '<|im_start|>'"
    ).replace("+ '\n' }}{% endfor", "+ '\n' }}{% endif %}{% endfor")
    for source in (refusing + CHATML, ignoring):
        given_template(source)
        assert "Shout." in prompt(later)
        assert prompt(later) == prompt(joined)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{**F, "strict": True}]}, "tools.0.strict"),
        ({"tools": [{"type": "function", "function": {"name": "f", "foo": 1}}]}, "tools.0.function.foo"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools.0.function.name"),
        (
            {"response_format": {"type": "json_schema", "strict": True, "json_schema": {"name": "x", "schema": {}}}},
            "response_format.strict",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "foo": 1}]}]},
            "messages.0.content.0.foo",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages.0.content.0.text"),
        ({"prediction": {"type": "content", "content": 5}}, "prediction.content"),
    ],
)
def test_an_error_names_the_field_that_is_wrong(served: Served, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        engine_request(served, **fields)
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "odd"}}}}, "text.format"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "a"}]}, "input.0.call_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input.0.content.0"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0.id"),
        ({"input": [{"role": "user", "content": "a", "colour": "red"}]}, "input.0.colour"),
        ({"tools": [F]}, "tools.0.name"),
        ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice"),
    ],
)
def test_an_error_of_a_response_names_its_own_fields(client: OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.responses.create(**{"model": "chat", "input": "a", **fields})
    assert caught.value.param == param


def test_a_coding_agents_request_is_answered(served: Served, client: OpenAI) -> None:
    shell = {"type": "function", "name": "run", "strict": False, "parameters": {"type": "object", "properties": {}}}
    asked: Any = {
        "model": "chat",
        "instructions": "Be brief.",
        "tools": [
            {"type": "namespace", "name": "shell", "description": "Commands.", "tools": [shell]},
            {"type": "web_search", "external_web_access": True},
            {"type": "local_shell"},
        ],
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "prompt_cache_key": "x",
    }
    more: Any = {"client_metadata": {"session": "x"}}
    choice: Any = {"type": "function", "name": "run", "namespace": "shell"}
    answer = client.responses.create(**asked, input="5: a nail?", tool_choice=choice, extra_body=more)
    (call,) = answer.output
    assert call.type == "function_call"
    assert (call.name, call.namespace, call.arguments) == ("run", "shell", "{}")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": [{"type": "input_text", "text": "ok"}]}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None}
    talk: Any = [*QUESTION, thought, call.model_dump(), result]
    assert client.responses.create(**asked, input=talk, max_output_tokens=4, extra_body=more).output
    body = ResponsesRequest.model_validate({**asked, "input": talk})
    job = ResponseJob(body, served.state.models.loaded["chat"], served.state.stored)
    prompt = job.served.tokenizer.decode(list(job.requests()[0].prompt_ids))
    assert prompt.count("shell__run") == 2
    assert "web_search" not in prompt


def test_one_model_needs_no_name(served: Served, runs: Any) -> None:
    for path, body in (("/v1/completions", {"prompt": "a"}), ("/v1/embeddings", {"input": "a"})):
        answer = served.ask("POST", path, body)
        assert (answer.status, answer.error["param"]) == (400, "model")
        assert "chat" in answer.error["message"]


def test_embeddings_have_length_one_unless_they_are_asked_for_raw(client: OpenAI) -> None:
    def vector(**more: Any) -> list[float]:
        return (
            client.embeddings.create(model="chat", input="A nail.", encoding_format="float", **more).data[0].embedding
        )

    unit, raw = vector(), vector(extra_body={"normalize": False})
    length = sum(value**2 for value in raw) ** 0.5
    assert sum(value**2 for value in unit) == pytest.approx(1)
    assert [value * length for value in unit] == pytest.approx(raw)


def test_ids_begin_as_openais_do(client: OpenAI) -> None:
    answer = client.responses.create(model="chat", input="a", max_output_tokens=2)
    assert answer.id.startswith("resp_")
    assert answer.output[0].id
    assert answer.output[0].id.startswith("msg_")
    assert client.chat.completions.create(model="chat", messages=QUESTION, max_tokens=1).id.startswith("chatcmpl-")  # type: ignore[arg-type]


def test_many_prompts_are_answered_in_one_request(client: OpenAI) -> None:
    answer = client.completions.create(model="base", prompt=["The old"] * 32, max_tokens=1)
    assert len(answer.choices) == 32
    with pytest.raises(BadRequestError, match="prompts") as caught:
        client.completions.create(model="base", prompt=["a"] * 5000, max_tokens=1)
    assert caught.value.param == "prompt"
