"""Conversations that are too long for the context: their first turns are left out where that is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from openai import BadRequestError, OpenAI

from gptsmith.serve.served_models import ServedModel

from ..conftest import Served

SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function_call", "call_id": "c", "name": "sell", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "sold"}


def exchanges(count: int) -> list[dict[str, str]]:
    return [
        turn
        for number in range(count)
        for turn in (
            {"role": "user", "content": f"{number}: a plough of iron for the old smith?"},
            {"role": "assistant", "content": f"The young smith forges a plough, and that is {number}."},
        )
    ]


def num_tokens(model: ServedModel, turns: list[dict[str, str]]) -> int:
    return len(model.template().prompt_ids(model.tokenizer, turns))


def test_a_long_conversation_is_answered_where_it_may_be_shortened(served: Served, client: OpenAI) -> None:
    model = served.state.models.loaded["chat"]
    last = {"role": "user", "content": "5: a nail?"}
    turns = exchanges(40)
    assert num_tokens(model, [SYSTEM, *turns, last]) > model.context_length
    asked: dict[str, Any] = {"model": "chat", "temperature": 0, "instructions": "Be brief.", "max_output_tokens": 20}
    with pytest.raises(BadRequestError) as caught:
        client.responses.create(**asked, input=[*turns, last])
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")
    answer = client.responses.create(**asked, input=[*turns, last], truncation="auto")
    assert answer.truncation == "auto"
    room = model.context_length - 20
    kept = next(turns[start:] for start in range(0, 80, 2) if num_tokens(model, [SYSTEM, *turns[start:], last]) <= room)
    assert 0 < len(kept) < len(turns)
    assert answer.usage
    assert answer.usage.input_tokens == num_tokens(model, [SYSTEM, *kept, last])
    alone = client.responses.create(**asked, input=[*kept, last])  # type: ignore[arg-type]
    assert answer.output_text == alone.output_text


def test_half_of_the_context_is_kept_for_an_answer_of_no_said_length(served: Served, client: OpenAI) -> None:
    model = served.state.models.loaded["chat"]
    turns: Any = [*exchanges(40), {"role": "user", "content": "5: a nail?"}, CALL, RESULT]
    stream = client.responses.create(model="chat", input=turns, truncation="auto", temperature=0, stream=True)
    last = next(event for event in stream if event.type in ("response.completed", "response.incomplete"))
    usage = last.response.usage
    assert usage
    assert model.context_length // 4 < usage.input_tokens <= model.context_length // 2


def test_one_turn_that_is_too_long_stays_refused(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.responses.create(model="chat", input="a nail " * 2000, truncation="auto")
    assert caught.value.code == "context_length_exceeded"


def test_chat_completions_say_how_many_messages_were_omitted(served: Served, client: OpenAI) -> None:
    model = served.state.models.loaded["chat"]
    messages: Any = [SYSTEM, *exchanges(40), {"role": "user", "content": "5: a nail?"}]
    request: dict[str, Any] = {"model": "chat", "temperature": 0, "max_tokens": 20}
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(**request, messages=messages)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    truncation = {"truncation": "auto"}
    answer = client.chat.completions.create(**request, messages=messages, extra_body=truncation)
    num_omitted = answer.model_extra["omitted_messages"] if answer.model_extra else 0
    assert 0 < num_omitted < 80
    kept = [SYSTEM, *messages[1 + num_omitted :]]
    assert answer.usage
    assert answer.usage.prompt_tokens == num_tokens(model, kept) <= model.context_length - 20
    assert num_tokens(model, [SYSTEM, *messages[num_omitted - 1 :]]) > model.context_length - 20
    chunks = list(client.chat.completions.create(**request, messages=messages, stream=True, extra_body=truncation))
    assert {(chunk.model_extra or {})["omitted_messages"] for chunk in chunks} == {num_omitted}
    whole = client.chat.completions.create(**request, messages=kept, extra_body=truncation)  # type: ignore[arg-type]
    assert (whole.model_extra or {})["omitted_messages"] == 0
    assert whole.choices[0].message.content == answer.choices[0].message.content
    assert "omitted_messages" not in (client.chat.completions.create(**request, messages=kept).model_extra or {})


def test_completions_say_how_many_tokens_were_omitted(served: Served, client: OpenAI) -> None:
    model = served.state.models.loaded["base"]
    token_ids = model.tokenizer.prompt_ids("The old smith sells a nail of iron. " * 60)
    request: dict[str, Any] = {"model": "base", "temperature": 0, "max_tokens": 8}
    with pytest.raises(BadRequestError):
        client.completions.create(**request, prompt=token_ids)
    answer = client.completions.create(**request, prompt=token_ids, extra_body={"truncation": "auto"})
    room = model.context_length - 8
    assert (answer.model_extra or {})["omitted_tokens"] == len(token_ids) - room
    assert answer.usage
    assert answer.usage.prompt_tokens == room
    assert answer.choices[0].text == client.completions.create(**request, prompt=token_ids[-room:]).choices[0].text
