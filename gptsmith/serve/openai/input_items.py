"""GET /v1/responses/{id}/input_items: what a stored response answers."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from gptsmith.serve.errors import refused
from gptsmith.serve.json_slices import json_bytes
from gptsmith.serve.openai.schemas.responses import MessageItem
from gptsmith.serve.openai.stored_responses import not_found
from gptsmith.serve.state import State

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
ORDERS = ("desc", "asc")


async def list_input_items(state: State, request: Request) -> Response:
    """The items before a response, those of the conversation that it continues included; the newest first.

    Raises:
        ApiError: there is no response of that id, or a parameter is not allowed.
    """
    name = request.path_params["name"]
    found = state.stored.get(name)
    if found is None:
        raise not_found(name)
    items, has_more = page_of(list(found.input_items), request.query_params)

    def answer() -> bytes:
        data = [listed(item) for item in items]
        ends = {"first_id": items[0].id if items else None, "last_id": items[-1].id if items else None}
        return json_bytes({"object": "list", "data": data, **ends, "has_more": has_more})

    return Response(await state.models.workers.run_on_reader(answer), media_type="application/json")


def page_of(items: list[Any], asked: QueryParams) -> tuple[list[Any], bool]:
    """The items that a page has, and whether there are more behind it.

    Raises:
        ApiError: a parameter is not allowed; it is named.
    """
    order, limit, after = asked.get("order", ORDERS[0]), asked.get("limit", str(DEFAULT_LIMIT)), asked.get("after")
    if order not in ORDERS:
        raise refused("order", f"give {' or '.join(ORDERS)}")
    if not limit.isdecimal() or not 0 < int(limit) <= MAX_LIMIT:
        raise refused("limit", f"give a number from 1 to {MAX_LIMIT}")
    if order == "desc":
        items = items[::-1]
    if after is not None:
        ids = [item.id for item in items]
        if after not in ids:
            raise refused("after", "no item of this response has this id")
        items = items[ids.index(after) + 1 :]
    return items[: int(limit)], len(items) > int(limit)


def listed(item: Any) -> dict[str, Any]:
    """An item as OpenAI's client reads it: the text of a message is a list of parts."""
    fields: dict[str, Any] = item.model_dump(exclude_none=True)
    if isinstance(item, MessageItem) and isinstance(item.content, str):
        kind = "output_text" if item.role == "assistant" else "input_text"
        part = {"type": kind, "text": item.content}
        fields["content"] = [{**part, "annotations": []} if kind == "output_text" else part]
    return {"status": "completed", **fields}
