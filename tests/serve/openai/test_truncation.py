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
    model = served.state.models.get("chat")
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
    model = served.state.models.get("chat")
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
