"""The collection that a request is about."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

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
