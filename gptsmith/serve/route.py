"""A route: what the app, the middleware and the OpenAPI document have to know of an address."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response
from starlette.routing import compile_path

from gptsmith.serve.chat.schemas.common import Schema
from gptsmith.serve.errors import ApiError

MODEL_KINDS = ("chat", "base", "classifier")
WRITERS = ("chat", "base")
ANSWERED_FOR_ALL = ("/health", "/ready", "/metrics")
"""The addresses that the process in front of several replicas answers itself. Only that process asks a replica."""


@dataclass(frozen=True)
class Route:
    """An address and what it does.

    Attributes:
        path: the address, in Starlette's form.
        method: the HTTP method that it takes.
        handler: `handler(state, request)` if there is no request schema, else `handler(state, body, log_fields)`, where
            `body` is a checked object of the schema and `log_fields` are shown in the line of the log.
        summary: one sentence for the OpenAPI document.
        request_schema: the body that it takes; None if it takes none.
        response_schema: JSON schema of the answer; None keeps the route out of the OpenAPI document.
        needs_key: whether only those with a key may ask, if the server has keys.
        drains: whether it is refused while the server shuts down.
        streams: whether it can answer with a stream.
        models: the kinds of models that can answer.
        error_body: writes its errors; None writes them in OpenAI's form.
        error_schema: JSON schema of its errors; None if they are in OpenAI's form.
        stream_type: the media type of its streams.
    """

    path: str
    method: str
    handler: Callable[..., Awaitable[Response]]
    summary: str = ""
    request_schema: type[Schema] | None = None
    response_schema: Mapping[str, Any] | None = None
    needs_key: bool = True
    drains: bool = True
    streams: bool = False
    models: Sequence[str] = MODEL_KINDS
    error_body: Callable[[ApiError], dict[str, Any]] | None = None
    error_schema: Mapping[str, Any] | None = None
    stream_type: str = "text/event-stream"
    parameter: str = field(init=False)
    """The name of the path's parameter; empty if it has none."""
    _form: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        form, _, parameters = compile_path(self.path)
        object.__setattr__(self, "_form", form)
        object.__setattr__(self, "parameter", next(iter(parameters), ""))

    @property
    def label(self) -> str:
        """The path for logs, metrics and documents, such as `/v1/models/{name}`."""
        return self.path.replace(":path}", "}")

    def matches(self, path: str) -> bool:
        """Whether the path of a request has the form of this route's."""
        return self._form.match(path) is not None


def find_route(routes: Sequence[Route], method: str, path: str) -> Route | None:
    """The route that answers a request, as Starlette chooses it: the first of its path and method; where its path takes
    other methods only, the first of those; None if there is none."""
    method = "GET" if method == "HEAD" else method
    found = [route for route in routes if route.matches(path)]
    return next((route for route in found if route.method == method), next(iter(found), None))
