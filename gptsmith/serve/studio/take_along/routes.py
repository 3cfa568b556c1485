"""The routes of taking models along."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from gptsmith.base.bounded import read_bytes
from gptsmith.convert.certificate import PAGE
from gptsmith.serve.chat.schemas.common import Schema
from gptsmith.serve.route import Route
from gptsmith.serve.studio.state import StudioState
from gptsmith.serve.studio.take_along.copies import PRECISIONS
from gptsmith.serve.studio.take_along.zipped import read, zipped
from gptsmith.workflows.watch import MAX_REPORT_BYTES, REPORT_HEADERS


class CopyRequest(Schema):
    """A copy to be written."""

    run: str
    format: str
    precision: str


class CopyName(Schema):
    """A copy that is there."""

    copy_name: str


async def list_copies(state: StudioState, request: Request) -> Response:
    """The copies of a run, and the formats that there are."""
    found = await asyncio.to_thread(state.studio.copies.of, request.path_params["name"])
    return JSONResponse({"copies": found, "formats": PRECISIONS, "folder": str(state.studio.place.folder)})


async def write_copy(state: StudioState, body: CopyRequest, _: dict[str, object]) -> Response:
    """Queues a copy."""
    job = await asyncio.to_thread(state.studio.copies.write, body.run, body.format, body.precision)
    return JSONResponse({"job": job})


async def delete_copy(state: StudioState, body: CopyName, _: dict[str, object]) -> Response:
    """Deletes a copy."""
    await asyncio.to_thread(state.studio.copies.delete, body.copy_name)
    return JSONResponse({})


async def download_copy(state: StudioState, request: Request) -> Response:
    """A copy as one file: the GGUF file itself, or an archive."""
    state.studio.tickets.require(request)
    folder = await asyncio.to_thread(state.studio.copies.folder, request.path_params["name"])
    weights = sorted(folder.glob("*.gguf"))
    if len(weights) == 1 and not (folder / "Modelfile").exists():
        return _file(read(weights[0]), f"{folder.name}.gguf", weights[0].stat().st_size)
    return _file(zipped(folder), f"{folder.name}.zip")


async def download_run(state: StudioState, request: Request) -> Response:
    """A run folder as an archive."""
    state.studio.tickets.require(request)
    folder = await asyncio.to_thread(state.studio.runs.folder, request.path_params["name"])
    return _file(zipped(folder), f"{folder.name}.zip")


async def show_certificate(state: StudioState, request: Request) -> Response:
    """The certificate of a copy: a page that reads nothing of this server."""
    state.studio.tickets.require(request)
    folder: Path = await asyncio.to_thread(state.studio.copies.folder, request.path_params["name"])
    content = await asyncio.to_thread(read_bytes, folder / PAGE, MAX_REPORT_BYTES)
    return Response(content, headers={**REPORT_HEADERS, "Content-Type": "text/html; charset=utf-8"})


def _file(parts: Iterator[bytes], name: str, size: int | None = None) -> Response:
    """A file that a browser saves."""
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
    if size is not None:
        headers["Content-Length"] = str(size)
    return StreamingResponse(parts, media_type="application/octet-stream", headers=headers)


ROUTES = (
    Route("/studio/api/copies/write", "POST", write_copy, request_schema=CopyRequest),
    Route("/studio/api/copies/delete", "POST", delete_copy, request_schema=CopyName),
    Route("/studio/api/copies/of/{name}", "GET", list_copies),
    Route("/studio/api/copies/download/{name}", "GET", download_copy, needs_key=False),
    Route("/studio/api/copies/certificate/{name}", "GET", show_certificate, needs_key=False),
    Route("/studio/api/archives/{name}", "GET", download_run, needs_key=False),
)
