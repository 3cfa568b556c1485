"""The routes of jobs."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.serve.chat.schemas.common import Schema
from gptsmith.serve.route import Route
from gptsmith.serve.studio.state import StudioState


class CancelRequest(Schema):
    """A job to stop."""

    id: str
    at_once: bool = False
    """Whether it is ended without being asked: what it has not written is lost."""


class MoveRequest(Schema):
    """A job that waits, to run before the one that waits before it."""

    id: str


async def list_jobs(state: StudioState, _: Request) -> Response:
    """The newest jobs, and all that wait or run."""
    return JSONResponse({"jobs": await asyncio.to_thread(state.studio.jobs.list)})


async def get_job(state: StudioState, request: Request) -> Response:
    """A job, with its command and its result."""
    return JSONResponse(await asyncio.to_thread(state.studio.jobs.get, request.path_params["id"]))


async def cancel_job(state: StudioState, body: CancelRequest, _: dict[str, object]) -> Response:
    """Stops a job."""
    cancel = state.studio.jobs.cancel
    return JSONResponse(await asyncio.to_thread(cancel, body.id, at_once=body.at_once))


async def move_job(state: StudioState, body: MoveRequest, _: dict[str, object]) -> Response:
    """Moves a job that waits up in its queue."""
    return JSONResponse(await asyncio.to_thread(state.studio.jobs.move_up, body.id))


ROUTES = (
    Route("/studio/api/jobs/move_up", "POST", move_job, request_schema=MoveRequest),
    Route("/studio/api/jobs/cancel", "POST", cancel_job, request_schema=CancelRequest),
    Route("/studio/api/jobs/{id}", "GET", get_job),
    Route("/studio/api/jobs", "GET", list_jobs),
)
