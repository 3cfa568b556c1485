"""The ASGI application of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from starlette import routing
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from gptsmith.serve.errors import ApiError, error_response
from gptsmith.serve.middleware import RequestMiddleware
from gptsmith.serve.parsing import read_body
from gptsmith.serve.route import ANSWERED_FOR_ALL, Route
from gptsmith.serve.routes import ROUTES
from gptsmith.serve.server_sent_events import unless_disconnected
from gptsmith.serve.state import State


def make_app(state: State, routes: Sequence[Route] = ROUTES) -> Starlette:
    """The application of a table of routes. It closes the state when it ends."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        state.close()

    unrecorded = () if state.replica is None else ANSWERED_FOR_ALL
    app = Starlette(
        routes=[routing.Route(route.path, _endpoint(route, state), methods=[route.method]) for route in routes],
        middleware=[Middleware(RequestMiddleware, state=state, routes=routes, unrecorded=unrecorded)],
        exception_handlers={ApiError: error_response, HTTPException: error_response},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _endpoint(route: Route, state: State) -> Callable[[Request], Awaitable[Response]]:
    """A route's handler as Starlette calls it: with its body read and checked, if it takes one."""
    schema = route.request_schema

    async def endpoint(request: Request) -> Response:
        if schema is None:
            return await route.handler(state, request)
        body = await read_body(request, schema, state.settings, state.models.workers.run_on_reader)
        return await unless_disconnected(request, route.handler(state, body, request.scope["log_fields"]))

    return endpoint
