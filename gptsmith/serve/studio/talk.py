"""The chat page in the studio."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.serve.route import Route
from gptsmith.serve.studio.state import StudioState


async def page(state: StudioState, _: Request) -> Response:
    """The chat page, with the studio's navigation and marks."""
    return state.page.file("studio/talk.html")


async def settings(state: StudioState, _: Request) -> Response:
    """The model that conversations begin with; null if none was chosen."""
    return JSONResponse({"default_model": await asyncio.to_thread(state.studio.default_model.name)})


ROUTES = (
    Route("/talk", "GET", page, needs_key=False),
    Route("/studio/api/talk", "GET", settings),
)
