"""The chat page in the studio."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.serve.route import Route
from gptsmith.serve.studio.state import StudioState


async def page(state: StudioState, _: Request) -> Response:
    """The chat page, with the studio's navigation and marks."""
    return state.page.file("studio/talk.html")


async def settings(state: StudioState, _: Request) -> Response:
    """The model that conversations begin with; null if none was chosen."""
    row = state.studio.database.row("SELECT value FROM settings WHERE name = 'default_model'")
    return JSONResponse({"default_model": None if row is None else json.loads(row["value"])})


ROUTES = (
    Route("/talk", "GET", page, needs_key=False),
    Route("/studio/api/talk", "GET", settings),
)
