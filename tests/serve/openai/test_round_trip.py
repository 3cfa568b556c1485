"""Whatever the server writes, it reads: answers as the next request's part, in every form that clients make of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import OpenAI
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import responses as response_types
from openai.types.chat import ChatCompletion, ParsedChatCompletionMessage
from openai.types.responses import Response
from pydantic import BaseModel

from gptsmith.generate.request import TokenLogprob
from gptsmith.serve.chat.schemas import chat as chat_schemas
from gptsmith.serve.chat.schemas.common import Schema
from gptsmith.serve.chat.streaming import SequenceOutput
from gptsmith.serve.openai.chat import ChatCompletionJob
from gptsmith.serve.openai.responses import ResponseJob
from gptsmith.serve.openai.schemas import responses as response_schemas
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.serve.openai.schemas.completions import CompletionRequest
from gptsmith.serve.openai.schemas.responses import ResponsesRequest
from gptsmith.serve.parsing import parse_body
from gptsmith.text.tool_calls import render_call

from ..conftest import QUESTION, Served

EXAMPLES = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
FORGE = {"type": "function", "function": {"name": "forge"}}
SAY = {"type": "custom", "custom": {"name": "say"}}
USAGE = {
    "prompt_tokens": 1,
    "completion_tokens": 1,
    "total_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 0},
}
CALLS = [render_call("forge", '{"a": 1}'), render_call("say", "x\ny", is_custom=True), render_call("fly", "{}")]
PIECES = st.one_of(
    st.text(max_size=6),
    st.sampled_from([*CALLS, "<think>\nWell.\n</think>\n\n", "<think>", "</think>", "<tool_call>\n", "\n", " "]),
)
TEXTS = st.lists(PIECES, max_size=5).map("".join)
OUTPUTS = st.builds(
    SequenceOutput,
    text=TEXTS,
    tokens=st.lists(st.builds(TokenLogprob, st.integers(0, 200), st.just(-0.5)), max_size=2),
    finish_reason=st.sampled_from(["stop", "length"]),
)


def forms(answer: Any, read: Any) -> list[Any]:
    """A part of an answer as it came, and as OpenAI's client gives it back."""
    return [answer, read.to_dict(), read.model_dump(), read.model_dump(exclude_none=True)]


def test_any_answer_is_read_in_the_next_request(served: Served) -> None:
    asked: dict[str, Any] = {"model": "chat", "messages": QUESTION, "tools": [FORGE, SAY], "logprobs": True, "n": 2}
    model = served.state.models.loaded["chat"]

    @EXAMPLES
    @given(st.lists(OUTPUTS, min_size=2, max_size=2), st.booleans(), st.booleans())
    def answer_is_read(outputs: list[SequenceOutput], has_tools: bool, is_older_form: bool) -> None:
        tools: dict[str, Any] = {"tools": [FORGE, SAY]}
        if is_older_form:
            tools = {"functions": [FORGE["function"]]}
        request = {**{name: value for name, value in asked.items() if name != "tools"}, **(tools if has_tools else {})}
        job = ChatCompletionJob(ChatCompletionRequest.model_validate(request), model)
        answer = job.response(outputs, USAGE)
        told = ChatCompletion.model_validate(answer)
        for choice, read in zip(answer["choices"], told.choices, strict=True):
            for message in forms(choice["message"], read.message):
                more = {**request, "messages": [*QUESTION, message, *QUESTION]}
                body = parse_body(json.dumps(more).encode(), ChatCompletionRequest)
                ChatCompletionJob(body, model).requests()

    answer_is_read()


def test_any_response_is_read_in_the_next_request(served: Served) -> None:
    tools: list[Any] = [{"type": "function", "name": "forge"}, {"type": "custom", "name": "say"}]
    asked: dict[str, Any] = {"model": "chat", "tools": tools, "top_logprobs": 1}
    model = served.state.models.loaded["chat"]

    @EXAMPLES
    @given(OUTPUTS, st.booleans())
    def answer_is_read(output: SequenceOutput, has_tools: bool) -> None:
        request = asked if has_tools else {"model": "chat"}
        body = ResponsesRequest.model_validate({**request, "input": "5: a nail?"})
        answer = ResponseJob(body, model, served.state.stored).response([output], USAGE)
        told = Response.model_validate(answer)
        outputs = [forms(item, read) for item, read in zip(answer["output"], told.output, strict=True)]
        for items in zip(*outputs, strict=True):
            more = {**request, "input": [*QUESTION, *items, *QUESTION]}
            ResponseJob(parse_body(json.dumps(more).encode(), ResponsesRequest), model, served.state.stored).requests()

    answer_is_read()


@EXAMPLES
@given(st.lists(st.text(), min_size=1))
def test_any_continuation_is_a_prompt(texts: list[str]) -> None:
    for prompt in (texts[0], texts):
        CompletionRequest.model_validate({"model": "base", "prompt": prompt})


@pytest.mark.parametrize("tools", [{}, {"tools": [FORGE], "tool_choice": "required", "parallel_tool_calls": False}])
def test_a_stream_that_was_added_up_is_read(client: OpenAI, tools: dict[str, Any]) -> None:
    asked: Any = {"model": "chat", "temperature": 0, "max_tokens": 60, **tools}
    state: Any = ChatCompletionStreamState()
    by_hand: dict[str, Any] = {}
    for chunk in client.chat.completions.create(**asked, messages=QUESTION, stream=True):
        state.handle_chunk(chunk)
        for name, value in chunk.choices[0].delta.model_dump(exclude_unset=True).items():
            by_hand[name] = by_hand[name] + value if name in by_hand and value is not None else value
    whole = state.current_completion_snapshot.choices[0].message
    calls = [call["id"] for call in by_hand.get("tool_calls", ())]
    assert bool(calls) == bool(tools)
    results = [{"role": "tool", "tool_call_id": id_, "name": "forge", "content": "done"} for id_ in calls]
    for message in (whole, whole.model_dump(), by_hand):
        answer = client.chat.completions.create(**asked, messages=[*QUESTION, message, *results, *QUESTION])
        assert answer.choices


def test_a_response_goes_on_from_its_own_output(client: OpenAI) -> None:
    tools: Any = [{"type": "function", "name": "forge"}]
    asked: Any = {"model": "chat", "temperature": 0, "max_output_tokens": 60, "tools": tools}
    answer = client.responses.create(**asked, input="5: a nail?", tool_choice="required", parallel_tool_calls=False)
    (call,) = answer.output
    assert call.type == "function_call"
    parts = [{"type": "input_text", "text": "do"}, {"type": "input_text", "text": "ne"}]
    sizes = set()
    for output in ("done", parts):
        result = {"type": "function_call_output", "call_id": call.call_id, "output": output}
        for item in (call, call.model_dump()):
            more = client.responses.create(**asked, input=[*QUESTION, item, result])
            assert more.usage
            sizes.add(more.usage.input_tokens)
    assert len(sizes) == 1


def test_calls_of_one_answer_are_one_turn(served: Served) -> None:
    def prompt(job: Any) -> list[int]:
        return list(job.requests()[0].prompt_ids)

    model = served.state.models.loaded["chat"]
    calls = [("a", '{"a": 1}'), ("b", "{}")]
    message = {
        "role": "assistant",
        "content": "I will look.",
        "tool_calls": [
            {"id": name, "type": "function", "function": {"name": "forge", "arguments": given}} for name, given in calls
        ],
    }
    results = [{"role": "tool", "tool_call_id": name, "content": "done"} for name, _ in calls]
    chat = {"model": "chat", "messages": [*QUESTION, message, *results]}
    items = [
        *QUESTION,
        {"role": "assistant", "content": "I will look."},
        *({"type": "function_call", "call_id": name, "name": "forge", "arguments": given} for name, given in calls),
        *({"type": "function_call_output", "call_id": name, "output": "done"} for name, _ in calls),
    ]
    response = ResponsesRequest.model_validate({"model": "chat", "input": items})
    assert prompt(ResponseJob(response, model, served.state.stored)) == prompt(
        ChatCompletionJob(ChatCompletionRequest.model_validate(chat), model)
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (chat_schemas.AssistantMessage, ParsedChatCompletionMessage),
        (response_schemas.MessageItem, response_types.ResponseOutputMessage),
        (response_schemas.InputText, response_types.ParsedResponseOutputText),
        (response_schemas.FunctionCallItem, response_types.ParsedResponseFunctionToolCall),
        (response_schemas.CustomToolCallItem, response_types.ResponseCustomToolCall),
        (response_schemas.ReasoningItem, response_types.ResponseReasoningItem),
    ],
)
def test_every_field_of_openais_own_answers_is_known(ours: type[Schema], theirs: type[BaseModel]) -> None:
    assert theirs.model_fields.keys() <= ours.model_fields.keys()
