"""Responses are stored within bounds, and a next request can refer to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from gptsmith.serve.openai.responses import ResponseJob
from gptsmith.serve.openai.schemas.responses import ResponsesRequest
from gptsmith.serve.openai.stored_responses import Conversation, StoredResponses

from ..conftest import Served

FORGE: dict[str, Any] = {
    "type": "function", "name": "forge", "strict": True,
    "parameters": {"type": "object", "properties": {"what": {"enum": ["nail"]}}, "required": ["what"]},
}  # fmt: skip
SHORT: dict[str, Any] = {"model": "chat", "max_output_tokens": 12}


def prompt(served: Served, **body: Any) -> list[int]:
    request = ResponsesRequest.model_validate({"model": "chat", **body})
    job = ResponseJob(request, served.state.models.loaded["chat"], served.state.stored)
    return list(job.requests()[0].prompt_ids)


def test_a_conversation_goes_on_by_the_id_of_a_response(served: Served, client: OpenAI) -> None:
    first = client.responses.create(**SHORT, input="5: a nail?", instructions="Be brief.")
    assert first.store is True
    second = client.responses.create(**SHORT, input="6: a sword?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    whole = [
        {"role": "user", "content": "5: a nail?"}, *(item.model_dump() for item in first.output),
        {"role": "user", "content": "6: a sword?"}, *(item.model_dump() for item in second.output),
        {"role": "user", "content": "And?"},
    ]  # fmt: skip
    assert prompt(served, input="And?", previous_response_id=second.id) == prompt(served, input=whole)


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_agents_loop_sends_references_and_results_alone(served: Served, client: OpenAI, is_stream: bool) -> None:
    asked: Any = {
        "model": "chat",
        "input": "5: a nail?",
        "tools": [FORGE],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    if is_stream:
        first = next(
            e for e in client.responses.create(**asked, stream=True) if e.type == "response.completed"
        ).response
    else:
        first = client.responses.create(**asked)
    (call,) = first.output
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
    user = {"role": "user", "content": "5: a nail?"}
    for reference in ({"type": "item_reference", "id": call.id}, {"id": call.id}):
        given = prompt(served, input=[user, reference, result], tools=[FORGE])
        assert given == prompt(served, input=[user, call.model_dump(), result], tools=[FORGE])
    assert given == prompt(served, input=[result], previous_response_id=first.id, tools=[FORGE])
    assert client.responses.create(**SHORT, input=[result], previous_response_id=first.id).output


def test_a_response_can_be_read_and_forgotten(client: OpenAI) -> None:
    made = client.responses.create(**SHORT, input="5: a nail?")
    found = client.responses.retrieve(made.id)
    assert found.model_dump() == made.model_dump()
    client.responses.delete(made.id)
    for call in (client.responses.retrieve, client.responses.delete):
        with pytest.raises(NotFoundError, match="is not stored here"):
            call(made.id)
    with pytest.raises(BadRequestError) as caught:
        client.responses.create(**SHORT, input="a", previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_found"
    with pytest.raises(BadRequestError, match="send the whole conversation as input") as caught:
        client.responses.create(**SHORT, input=[{"type": "item_reference", "id": made.output[0].id}])
    assert caught.value.param == "input.0.id"


def test_nothing_is_stored_that_shall_not_be(client: OpenAI) -> None:
    made = client.responses.create(**SHORT, input="5: a nail?", store=False)
    assert made.store is False
    with pytest.raises(NotFoundError):
        client.responses.retrieve(made.id)


def response(name: str, text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"id": name, "output": [{"type": "message", "id": f"msg_{name}", "role": "assistant", "content": content}]}


def refer(store: StoredResponses, name: str) -> Conversation:
    body = {"model": "m", "input": [{"type": "item_reference", "id": f"msg_{name}"}]}
    return store.conversation(ResponsesRequest.model_validate(body))


def test_the_oldest_make_room() -> None:
    store = StoredResponses(5000)
    for number in range(20):
        store.add(Conversation([], 0), response(f"r{number}", "x" * 500))
        assert store.num_bytes <= 5000
        assert store.num_bytes == sum(kept.num_bytes for kept in store._responses.values())
    assert store.get("r19") is not None
    assert refer(store, "r19").items[0].content[0].text == "x" * 500
    assert store.get("r0") is None
    with pytest.raises(Exception, match="is not stored here"):
        refer(store, "r0")
    store.add(Conversation([], 0), response("large", "x" * 5000))
    assert store.get("large") is None
    assert store.get("r19") is not None
    assert store.delete("r19")
    assert len(store._items) == len(store._responses)
    assert not store.delete("r19")


def test_a_long_conversation_counts_as_a_whole() -> None:
    store = StoredResponses(100_000)
    body = {"model": "m", "input": [{"role": "user", "content": "a" * 1000}] * 20}
    conversation = store.conversation(ResponsesRequest.model_validate(body))
    assert conversation.num_bytes > 20_000
    store.add(conversation, response("one", "b"))
    more = {"model": "m", "input": "and?", "previous_response_id": "one"}
    following = store.conversation(ResponsesRequest.model_validate(more))
    assert [type(item).__name__ for item in following.items] == ["MessageItem"] * 22
    assert following.num_bytes > conversation.num_bytes
    assert store.num_bytes > conversation.num_bytes + len(json.dumps(response("one", "b")["output"])) - 50


def test_none_are_stored_without_room(served: Served) -> None:
    request = ResponsesRequest.model_validate({"model": "chat", "input": "a"})
    job = ResponseJob(request, served.state.models.loaded["chat"], StoredResponses(0))
    assert job.response_object([], None, None)["store"] is False


def test_the_items_before_a_response_are_listed(served: Served, client: OpenAI) -> None:
    first = client.responses.create(**SHORT, input="5: a nail?")
    turn: Any = [{"role": "user", "content": [{"type": "input_text", "text": "6: a sword?"}], "id": "msg_mine"}]
    second = client.responses.create(**SHORT, input=turn, previous_response_id=first.id)
    items: list[Any] = list(client.responses.input_items.list(second.id, order="asc"))
    assert [item.content[0].text for item in items] == ["5: a nail?", first.output_text, "6: a sword?"]
    assert [item.id for item in items[1:]] == [first.output[0].id, "msg_mine"]
    assert [item.id for item in client.responses.input_items.list(second.id, limit=1)] == [i.id for i in items[::-1]]
    # An item that came without an id has one now, by which it can be referred to.
    again: Any = [{"type": "item_reference", "id": items[0].id}]
    assert prompt(served, input=again) == prompt(served, input="5: a nail?")
    page = served.ask("GET", f"/v1/responses/{second.id}/input_items?limit=2&after={items[2].id}").json
    assert (page["object"], page["has_more"], page["first_id"]) == ("list", False, items[1].id)
    for query, param in (("order=up", "order"), ("limit=0", "limit"), ("limit=x", "limit"), ("after=none", "after")):
        assert served.ask("GET", f"/v1/responses/{second.id}/input_items?{query}").error["param"] == param
    assert served.ask("GET", "/v1/responses/none/input_items").error["code"] == "not_found"
    assert 'route="/v1/responses/{name}/input_items"' in served.ask("GET", "/metrics").data.decode()
