"""Conversations and responses, asked for by OpenAI's own client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI

from gptsmith.generate.structured_output import GrammarCompiler
from gptsmith.serve.openai.functions import resolve_tools
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest

from ..conftest import QUESTION, Served

LIKELIEST: dict[str, Any] = {"model": "chat", "messages": QUESTION, "temperature": 0}
SCHEMA = {
    "type": "object",
    "properties": {"tool": {"enum": ["nail", "sword"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["tool", "count"],
    "additionalProperties": False,
}
FORGE = {"type": "function", "function": {"name": "forge", "description": "Makes it.", "parameters": SCHEMA}}
SELL = {"type": "function", "function": {"name": "sell"}}
SAY = {
    "type": "custom",
    "custom": {"name": "say", "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "[ab]{3}"}}},
}


def test_the_answer_is_that_of_the_model(served: Served, client: OpenAI) -> None:
    loaded = served.state.models.loaded["chat"].loaded
    expected = loaded.reply(QUESTION, max_tokens=20, temperature=0)
    answer = client.chat.completions.create(**LIKELIEST, max_completion_tokens=20)
    (choice,) = answer.choices
    assert choice.message.content == expected
    assert choice.message.role == "assistant"
    assert answer.object == "chat.completion"
    chunks = list(client.chat.completions.create(**LIKELIEST, max_tokens=20, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == choice.finish_reason
    assert len({chunk.id for chunk in chunks}) == 1


def test_an_adapter_is_a_model(served: Served, client: OpenAI) -> None:
    loaded = served.state.models.loaded["adapted"].loaded
    expected = loaded.reply(QUESTION, max_tokens=20, temperature=0)
    answer = client.chat.completions.create(**{**LIKELIEST, "model": "adapted"}, max_tokens=20)
    assert answer.choices[0].message.content == expected


def test_the_async_client_is_answered_too(served: Served) -> None:
    async def ask() -> tuple[str, str]:
        async with AsyncOpenAI(base_url=f"{served.address}/v1", api_key="none") as client:
            whole = await client.chat.completions.create(**LIKELIEST, max_tokens=8)
            stream = await client.chat.completions.create(**LIKELIEST, max_tokens=8, stream=True)
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        return whole.choices[0].message.content or "", "".join(parts)

    whole, streamed = asyncio.run(ask())
    assert whole == streamed
    assert whole


def test_logprobs_in_a_stream_come_with_their_text(client: OpenAI) -> None:
    asked: dict[str, Any] = {**LIKELIEST, "max_tokens": 12, "logprobs": True, "top_logprobs": 3}
    told = client.chat.completions.create(**asked).choices[0].logprobs
    assert told
    assert told.content
    assert len(told.content) == 12
    for token in told.content:
        assert bytes(token.bytes or []).decode("utf-8", "replace") == token.token
        assert len(token.top_logprobs) == 3
        assert token.logprob == max(top.logprob for top in token.top_logprobs)
    streamed = []
    for chunk in client.chat.completions.create(**asked, stream=True):
        (choice,) = chunk.choices
        if choice.logprobs and choice.logprobs.content:
            text = "".join(token.token for token in choice.logprobs.content)
            assert text == choice.delta.content
            streamed += [token.token for token in choice.logprobs.content]
    assert streamed == [token.token for token in told.content]


def test_text_that_may_be_a_stop_string_is_held_with_its_logprobs(client: OpenAI) -> None:
    whole = client.chat.completions.create(**LIKELIEST, max_tokens=12).choices[0].message.content or ""
    stop = [whole[2:6] + "never"]
    asked: dict[str, Any] = {**LIKELIEST, "max_tokens": 12, "logprobs": True, "stop": stop}
    chunks = [chunk.choices[0] for chunk in client.chat.completions.create(**asked, stream=True)]
    assert "".join(choice.delta.content or "" for choice in chunks) == whole
    for choice in chunks:
        assert choice.delta.content or not (choice.logprobs and choice.logprobs.content)
    assert sum(len(choice.logprobs.content or []) for choice in chunks if choice.logprobs) == 12


def test_choices_differ(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "chat", "messages": QUESTION, "n": 3, "max_tokens": 16, "seed": 4}
    whole = client.chat.completions.create(**asked, temperature=1.8)
    texts = [choice.message.content for choice in whole.choices]
    assert len(set(texts)) == 3
    parts = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, temperature=1.8, stream=True):
        parts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert parts == texts
    assert whole.usage
    alone = client.chat.completions.create(**{**asked, "n": 1}).usage
    assert alone
    assert whole.usage.prompt_tokens == alone.prompt_tokens


def test_the_last_message_is_gone_on_with(served: Served, client: OpenAI) -> None:
    whole = client.chat.completions.create(**LIKELIEST, max_tokens=12).choices[0].message.content or ""
    tokenizer = served.state.models.loaded["chat"].tokenizer
    begun = tokenizer.decode(tokenizer.encode_inside(whole)[:3])
    messages: Any = [*QUESTION, {"role": "assistant", "content": begun}]
    more = client.chat.completions.create(
        model="chat", messages=messages, temperature=0, max_tokens=9, extra_body={"continue_final_message": True}
    )
    assert begun + (more.choices[0].message.content or "") == whole
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(**LIKELIEST, extra_body={"continue_final_message": True})
    assert caught.value.param == "continue_final_message"


def test_special_tokens_that_people_write_stay_text(served: Served) -> None:
    def count(text: str) -> int:
        return int(served.ask("POST", "/tokenize", {"model": "chat", "messages": [{**QUESTION[0], "content": text}]})
                   .json["count"])  # fmt: skip

    control = served.state.models.loaded["chat"].tokenizer.special_tokens["<|im_end|>"]
    body = {"model": "chat", "messages": [{"role": "user", "content": "<|im_end|>"}]}
    assert served.ask("POST", "/tokenize", body).json["tokens"].count(control) == 1
    assert count("<|im_end|>") > count("x") + 2


def test_parts_and_names_and_instructions_are_read(served: Served) -> None:
    def ids(messages: Any) -> list[int]:
        answer = served.ask("POST", "/tokenize", {"model": "chat", "messages": messages})
        tokens: list[int] = answer.json["tokens"]
        return tokens

    told = {"role": "system", "content": "Be brief.\n\nBe kind."}
    apart = [{"role": "developer", "content": "Be brief."}, {"role": "system", "content": "Be kind."}]
    assert ids([*apart, *QUESTION]) == ids([told, *QUESTION])
    parts = [{"type": "text", "text": "5: a "}, {"type": "text", "text": "nail?"}]
    assert ids([{"role": "user", "content": parts}]) == ids(QUESTION)
    assert ids([{**QUESTION[0], "name": "Ann"}]) == ids([{"role": "user", "content": "Ann: 5: a nail?"}])
    call = {"id": "c1", "type": "function", "function": {"name": "forge", "arguments": '{"a": 1}'}}
    talk = [*QUESTION, {"role": "assistant", "tool_calls": [call]}]
    written = '<tool_call>\n{"name": "forge", "arguments": {"a": 1}}\n</tool_call>'
    assert ids([*talk, {"role": "tool", "tool_call_id": "c1", "content": "done"}]) == ids(
        [*QUESTION, {"role": "assistant", "content": written}, {"role": "function", "name": "forge", "content": "done"}]
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_a_schema_is_kept_to(client: OpenAI, seed: int) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "order", "schema": SCHEMA, "strict": True}}
    asked: dict[str, Any] = {"model": "chat", "messages": QUESTION, "seed": seed, "temperature": 1.5}
    choice = client.chat.completions.create(**asked, response_format=form).choices[0]
    found = json.loads(choice.message.content or "")
    assert found["tool"] in ("nail", "sword")
    assert found["count"] in range(10)
    assert choice.finish_reason == "stop"


def test_other_rules_are_kept_to(client: OpenAI) -> None:
    regex: Any = {"type": "regex", "regex": "[xy]{4}"}
    grammar: Any = {"type": "grammar", "grammar": 'start: "p" "q"'}
    plain: Any = {"type": "text"}
    assert set(client.chat.completions.create(**LIKELIEST, response_format=regex).choices[0].message.content or "") <= {
        "x", "y",
    }  # fmt: skip
    assert client.chat.completions.create(**LIKELIEST, response_format=grammar).choices[0].message.content == "pq"
    free = client.chat.completions.create(**LIKELIEST, max_tokens=5)
    told = client.chat.completions.create(**LIKELIEST, max_tokens=5, response_format=plain)
    assert told.choices[0].message.content == free.choices[0].message.content
    braces: Any = {"type": "json_object"}
    text = client.chat.completions.create(**LIKELIEST, max_tokens=5, response_format=braces).choices[0].message.content
    assert (text or "").startswith("{")


def test_a_call_that_is_required_has_arguments_of_the_schema(client: OpenAI) -> None:
    tools: Any = [FORGE, SELL]
    choice = client.chat.completions.create(
        **{**LIKELIEST, "temperature": 1}, tools=tools, tool_choice="required", parallel_tool_calls=False, seed=3
    ).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    arguments = json.loads(call.function.arguments)
    assert arguments.keys() == ({"tool", "count"} if call.function.name == "forge" else set())


def test_a_call_of_a_name_is_of_that_tool_in_a_stream_too(client: OpenAI) -> None:
    asked: dict[str, Any] = {**LIKELIEST, "tools": [SELL, FORGE]}
    asked["tool_choice"] = {"type": "function", "function": {"name": "forge"}}
    (call,) = client.chat.completions.create(**asked).choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "forge"
    chunks = [chunk.choices[0] for chunk in client.chat.completions.create(**asked, stream=True)]
    (delta,) = [one for choice in chunks for one in choice.delta.tool_calls or []]
    assert delta.function
    assert (delta.index, delta.function.name, delta.function.arguments) == (0, "forge", call.function.arguments)
    assert "".join(choice.delta.content or "" for choice in chunks) == ""
    assert chunks[-1].finish_reason == "tool_calls"


def test_tools_that_may_be_called_leave_words_alone(client: OpenAI) -> None:
    asked: dict[str, Any] = {**LIKELIEST, "tools": [FORGE], "max_tokens": 10}
    whole = client.chat.completions.create(**asked).choices[0]
    assert whole.message.content
    assert not whole.message.tool_calls
    streamed = client.chat.completions.create(**asked, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == whole.message.content
    without = client.chat.completions.create(**LIKELIEST, max_tokens=10).choices[0].message.content
    assert client.chat.completions.create(**asked, tool_choice="none").choices[0].message.content == without


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [
        ("The smith forges a nail.", True),
        ("<tool is no call", True),
        ('<tool_call>\n{"name": "forge", "arguments": {"tool": "nail", "count": 3}}\n</tool_call>', True),
        ('<tool_call>\n{"name": "forge", "arguments": {"tool": "axe"', False),
        ('<tool_call>\n{"name": "fly"', False),
        ("<tool_call> well", False),
        ("I say <tool_call> well", False),
        ('I will.\n<tool_call>\n{"name": "forge", "arguments": {"tool": "nail", "count": 3}}\n</tool_call>', True),
        ('I will.\n<tool_call>\n{"name": "forge", "arguments": {"tool": "axe"', False),
    ],
)
def test_a_text_that_may_be_a_call_is_words_or_a_call_of_the_schema(
    served: Served, text: str, is_allowed: bool
) -> None:
    body = ChatCompletionRequest.model_validate({"model": "chat", "messages": QUESTION, "tools": [FORGE]})
    toolset = resolve_tools(body)
    assert toolset
    model = served.state.models.loaded["chat"]
    grammar = GrammarCompiler(model.tokenizer, model.vocab_size).compile(toolset.constraint(None))
    fits = True
    for token in model.tokenizer.encode(text):
        fits = fits and bool(grammar.allowed_tokens()[token])
        if not fits:
            break
        grammar.accept(token)
    assert fits == is_allowed


def test_a_custom_tool_is_given_text_of_its_pattern(client: OpenAI) -> None:
    tools: Any = [SAY]
    choice = client.chat.completions.create(
        **LIKELIEST, tools=tools, tool_choice={"type": "custom", "custom": {"name": "say"}}
    ).choices[0]
    (call,) = choice.message.tool_calls or []
    assert call.type == "custom"
    assert len(call.custom.input) == 3
    assert set(call.custom.input) <= {"a", "b"}


def test_the_older_form_of_tools_is_answered_in_kind(client: OpenAI) -> None:
    functions: Any = [FORGE["function"]]
    choice = client.chat.completions.create(**LIKELIEST, functions=functions, function_call={"name": "forge"}).choices[
        0
    ]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call
    assert json.loads(choice.message.function_call.arguments).keys() == {"tool", "count"}


def test_what_only_concerns_others_is_accepted(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        **LIKELIEST, max_tokens=2, store=False, user="ann", metadata={"a": "b"}, service_tier="auto",
        safety_identifier="x", prompt_cache_key="y", modalities=["text"], reasoning_effort="none",
        prediction={"type": "content", "content": "The"}, verbosity="medium",
    )  # fmt: skip
    assert answer.service_tier == "default"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"store": True}, "store"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "a", "format": "wav"}}, "audio"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"max_tokens": 2, "max_completion_tokens": 2}, "max_completion_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"n": 17}, "n"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "tool", "content": "a", "tool_call_id": "c"}]}, "messages.0.tool_call_id"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
            "messages.0.content.0",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [FORGE], "tool_choice": {"type": "function", "function": {"name": "fly"}}}, "tool_choice"),
        ({"tools": [FORGE, FORGE]}, "tools"),
        ({"response_format": {"type": "regex", "regex": "("}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "odd"}}}},
            "response_format",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(client: OpenAI, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(**{**LIKELIEST, **wrong})
    assert caught.value.param == param


def test_a_base_model_says_where_it_can_be_asked(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="/v1/completions") as caught:
        client.chat.completions.create(**{**LIKELIEST, "model": "base"})
    assert caught.value.code == "not_a_chat_model"


def test_a_response_is_the_same_answer(client: OpenAI) -> None:
    chat = client.chat.completions.create(**LIKELIEST, max_tokens=10)
    answer = client.responses.create(model="chat", input="5: a nail?", temperature=0, max_output_tokens=10)
    assert answer.output_text == chat.choices[0].message.content
    assert answer.store is True
    assert answer.usage
    assert chat.usage
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (chat.usage.prompt_tokens, 10)
    assert answer.status == "incomplete"
    assert answer.incomplete_details
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_a_responses_stream_is_whole(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "chat", "input": [{"role": "user", "content": "5: a nail?"}], "temperature": 0}
    asked["text"] = {"format": {"type": "json_schema", "name": "order", "schema": SCHEMA}}
    with client.responses.stream(**asked, include=["message.output_text.logprobs"], top_logprobs=1) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events if hasattr(event, "sequence_number")] == list(range(len(events)))
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert "".join(event.delta for event in deltas) == final.output_text
    assert json.loads(final.output_text).keys() == {"tool", "count"}
    assert events[-1].type == "response.completed"
    assert "".join(one.token for event in deltas for one in event.logprobs or []) == final.output_text
    assert client.responses.create(**asked).output_text == final.output_text


def test_a_response_calls_a_function_and_reads_what_it_gave(client: OpenAI) -> None:
    tools: Any = [{"type": "function", **FORGE["function"]}]  # type: ignore[dict-item]
    asked: dict[str, Any] = {"model": "chat", "tools": tools, "temperature": 0}
    answer = client.responses.create(**asked, input="5: a nail?", tool_choice="required", parallel_tool_calls=False)
    (call,) = answer.output
    assert call.type == "function_call"
    assert json.loads(call.arguments).keys() == {"tool", "count"}
    talk: Any = [
        {"role": "user", "content": "5: a nail?"},
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "done"},
    ]
    more = client.responses.create(**asked, input=talk, max_output_tokens=5)
    assert more.output_text
    assert more.usage
    assert answer.usage
    assert more.usage.input_tokens > answer.usage.input_tokens
    events = list(client.responses.create(**asked, input="5: a nail?", tool_choice="required", stream=True))
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    assert done.name == "forge"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"previous_response_id": "resp-1"}, "previous_response_id"),
        ({"conversation": "conv"}, "conversation"),
        ({"background": True}, "background"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"include": ["file_search_call.results"]}, "include"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]}]},
            "input.0.content.0",
        ),
    ],
)
def test_what_needs_a_memory_or_eyes_is_refused_by_name(client: OpenAI, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.responses.create(**{"model": "chat", "input": "a", **wrong})
    assert caught.value.param == param
