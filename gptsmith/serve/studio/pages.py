"""The pages of the studio, and tickets for their links."""

from __future__ import annotations

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.serve.chat.schemas.common import Schema
from gptsmith.serve.route import Route
from gptsmith.serve.studio.state import StudioState


class TicketRequest(Schema):
    """An address that a browser is to open by a link."""

    path: str


async def index(state: StudioState, _: Request) -> Response:
    """The page of the studio."""
    return state.page.file("studio/index.html")


async def ticket(state: StudioState, body: TicketRequest, _: dict[str, object]) -> Response:
    """A ticket for an address."""
    return JSONResponse({"ticket": state.studio.tickets.make(body.path)})


class QuitRequest(Schema):
    """The studio is to end."""


async def leave(state: StudioState, _: QuitRequest, __: dict[str, object]) -> Response:
    """Ends the studio; what trains goes on."""
    return JSONResponse({}, background=BackgroundTask(state.studio.quit))


ROUTES = (
    Route("/", "GET", index, needs_key=False),
    Route("/studio/api/quit", "POST", leave, request_schema=QuitRequest),
    Route("/studio/api/tickets", "POST", ticket, request_schema=TicketRequest),
)
