"""What requests about data have in their queries."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request

from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.data.collections import Collection
from gptsmith.serve.studio.state import StudioState

API = "/studio/api/data"


async def collection_asked(state: StudioState, request: Request) -> Collection:
    """The collection that a request names."""
    return await collection_named(state, request.query_params.get("name", ""))


async def collection_named(state: StudioState, name: str) -> Collection:
    """The collection of a name. It is looked up in a thread: the loop never waits for the database.

    Raises:
        ApiError: there is none.
    """
    return await asyncio.to_thread(state.studio.data.collections.get, name)


def number_asked(request: Request, name: str, default: int | None = None) -> int:
    """A number of the query.

    Raises:
        ApiError: it is not there, or no number.
    """
    text = request.query_params.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 18):
        raise ApiError(400, f"{name}: expected a number", param=name)
    return int(text)


def page_of(items: Any, request: Request) -> dict[str, Any]:
    """The part of a list that a request asks for by `offset` and `limit`, and how many there are."""
    offset, limit = number_asked(request, "offset", 0), min(number_asked(request, "limit", 200), 1000)
    return {"items": items[offset : offset + limit], "num_items": len(items)}
