"""Collections that are searched while a person talks: which there are, and answers with passages of theirs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.serve.chat.generation import generate_response
from gptsmith.serve.chat.schemas.common import Schema
from gptsmith.serve.documents import passage_response
from gptsmith.serve.openai.chat import ChatCompletionJob
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.serve.route import Route
from gptsmith.serve.studio.data.asked import collection_named
from gptsmith.serve.studio.data.schemas import Name, Named
from gptsmith.serve.studio.state import StudioState

API = "/studio/api/documents"
MAX_COLLECTIONS = 100
Names = Annotated[list[Name], Field(max_length=MAX_COLLECTIONS)]


class OpenCollections(Schema):
    """Collections that are to be searched."""

    names: Names


class TalkRequest(ChatCompletionRequest):
    """A conversation, and the collections in which its last question is looked up."""

    collections: Names | None = None


async def list_collections(state: StudioState, _: Request | None = None) -> Response:
    """All collections, and how far each is read."""
    return JSONResponse({"collections": await asyncio.to_thread(state.studio.searched.listed)})


async def open_collections(state: StudioState, body: OpenCollections, _: dict[str, Any]) -> Response:
    """Begins to read collections, and says how far each is."""
    for collection in [await collection_named(state, name) for name in body.names]:
        await asyncio.to_thread(state.studio.searched.open, collection)
    return await list_collections(state)


async def cancel(state: StudioState, body: Named, _: dict[str, Any]) -> Response:
    """Ends the reading of a collection."""
    state.studio.searched.cancel(await collection_named(state, body.name))
    return JSONResponse({})


async def answer(state: StudioState, body: TalkRequest, log_fields: dict[str, Any]) -> Response:
    """The answer to a conversation, with passages of the collections that it names.

    Raises:
        ApiError: it cannot be given, or a collection is not there or cannot be read.
    """
    chosen = [await collection_named(state, name) for name in dict.fromkeys(body.collections or ())]
    documents = await state.studio.searched.together(chosen) if chosen else None
    job = ChatCompletionJob(body, await state.models.writer(body.model))
    job.documents = documents
    return await generate_response(state, job, log_fields)


async def passage(state: StudioState, request: Request) -> Response:
    """A source, with what stands before and after it.

    Raises:
        ApiError: it is gone, or its collection cannot be read.
    """
    id_ = request.path_params["id"]
    return passage_response(await state.studio.searched.passage(id_), id_)


ROUTES = (
    Route(API, "GET", list_collections),
    Route(f"{API}/open", "POST", open_collections, request_schema=OpenCollections),
    Route(f"{API}/cancel", "POST", cancel, request_schema=Named),
    Route("/v1/chat/completions", "POST", answer, request_schema=TalkRequest, streams=True),
    Route("/v1/documents/{id}", "GET", passage),
)
