"""The addresses of data."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.serve.parsing import body_bytes
from gptsmith.serve.route import Route
from gptsmith.serve.studio.data import document_routes, schemas
from gptsmith.serve.studio.data.asked import API, collection_asked, collection_named
from gptsmith.serve.studio.data.listing import about, files_of
from gptsmith.serve.studio.data.uploads import CHUNK_BYTES, GivenFile
from gptsmith.serve.studio.queries import number_asked, page_of
from gptsmith.serve.studio.state import StudioState

PACK_HEAD_BYTES = 1_000_000
LogFields = dict[str, object]


async def list_collections(state: StudioState, _: Request) -> Response:
    """All collections, the newest first."""
    return JSONResponse({"collections": await asyncio.to_thread(state.studio.data.listed)})


async def make(state: StudioState, body: schemas.NewCollection, _: LogFields) -> Response:
    """A new collection."""
    data = state.studio.data
    return JSONResponse(await asyncio.to_thread(lambda: about(data.collections.make(body.name, body.path))))


async def rename(state: StudioState, body: schemas.Rename, _: LogFields) -> Response:
    """Another name of a collection."""
    made = await asyncio.to_thread(state.studio.data.collections.rename, body.name, body.new_name)
    return JSONResponse({"name": made.name})


async def delete(state: StudioState, body: schemas.Named, _: LogFields) -> Response:
    """Deletes a collection."""
    collection = await collection_named(state, body.name)
    await asyncio.to_thread(state.studio.data.delete, body.name)
    await asyncio.to_thread(state.studio.searched.forget, collection)
    return JSONResponse({})


async def list_runs(state: StudioState, request: Request) -> Response:
    """The runs that cannot be resumed without a collection."""
    collection = await collection_asked(state, request)
    return JSONResponse({"runs": await asyncio.to_thread(state.studio.data.runs_of, collection)})


async def list_files(state: StudioState, request: Request) -> Response:
    """The files of a collection, and uploads that are not whole."""
    collection = await collection_asked(state, request)
    found = await asyncio.to_thread(files_of, collection)
    unfinished = await asyncio.to_thread(state.studio.data.uploads.unfinished, collection)
    return JSONResponse({**page_of(found, request), "unfinished": unfinished})


async def delete_files(state: StudioState, body: schemas.DeleteFiles, _: LogFields) -> Response:
    """Deletes uploaded files."""
    data = state.studio.data
    collection = await collection_named(state, body.name)
    await asyncio.to_thread(data.delete_files, collection, body.paths)
    return JSONResponse({})


async def begin(state: StudioState, body: schemas.BeginUpload, _: LogFields) -> Response:
    """Where the uploads of files go on."""
    collection = await collection_named(state, body.name)
    files = [GivenFile(file.path, file.num_bytes, file.modified_ms) for file in body.files]
    found = await asyncio.to_thread(state.studio.data.uploads.begin, collection, files, body.num_bytes)
    return JSONResponse({"files": found})


async def receive(state: StudioState, request: Request) -> Response:
    """A chunk of a large file."""
    collection, offset = await collection_asked(state, request), number_asked(request, "offset")
    data = await body_bytes(request, CHUNK_BYTES, state.settings.body_timeout_s)
    upload = request.path_params["upload"]
    return JSONResponse(await asyncio.to_thread(state.studio.data.uploads.receive, collection, upload, offset, data))


async def cancel(state: StudioState, body: schemas.CancelUpload, _: LogFields) -> Response:
    """Throws an upload away."""
    collection = await collection_named(state, body.name)
    await asyncio.to_thread(state.studio.data.uploads.cancel, collection, body.upload)
    return JSONResponse({})


async def unpack(state: StudioState, request: Request) -> Response:
    """A pack of small files."""
    collection = await collection_asked(state, request)
    pack = await body_bytes(request, CHUNK_BYTES + PACK_HEAD_BYTES, state.settings.body_timeout_s)
    return JSONResponse({"files": await asyncio.to_thread(state.studio.data.uploads.unpack, collection, pack)})


ROUTES = (
    Route(API, "GET", list_collections),
    Route(f"{API}/make", "POST", make, request_schema=schemas.NewCollection),
    Route(f"{API}/rename", "POST", rename, request_schema=schemas.Rename),
    Route(f"{API}/delete", "POST", delete, request_schema=schemas.Named),
    Route(f"{API}/runs", "GET", list_runs),
    Route(f"{API}/files", "GET", list_files),
    Route(f"{API}/files/delete", "POST", delete_files, request_schema=schemas.DeleteFiles),
    Route(f"{API}/uploads", "POST", begin, request_schema=schemas.BeginUpload),
    Route(f"{API}/uploads/cancel", "POST", cancel, request_schema=schemas.CancelUpload),
    Route(f"{API}/uploads/{{upload}}", "PUT", receive),
    Route(f"{API}/packs", "PUT", unpack),
    *document_routes.ROUTES,
)
