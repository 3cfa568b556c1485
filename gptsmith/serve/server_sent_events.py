"""Server-sent events, and answers that end when their client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gptsmith.serve.errors import ApiError
from gptsmith.serve.json_slices import json_bytes

T = TypeVar("T")
PING = b": ping\n\n"
"""A comment, which every client skips."""
DONE = b"data: [DONE]\n\n"
CLIENT_CLOSED_REQUEST = 499
LINE_ENDS = {sign.encode(): f"\\u{ord(sign):04x}".encode() for sign in "\u0085\u2028\u2029"}
"""Characters at which some clients end a line, though the standard does not: as JSON escapes them."""


def json_line(data: Mapping[str, Any]) -> bytes:
    """JSON in one line for every client, without its end."""
    text = json_bytes(data)
    for sign, escaped in LINE_ENDS.items():
        text = text.replace(sign, escaped)
    return text


def event(data: Mapping[str, Any], name: str | None = None) -> bytes:
    """One event, in the form of the HTML standard."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + json_line(data) + b"\n\n"


class EventStream(Response):
    """A stream of events, which handles its own failures. It ends when the client leaves; `close` is called at the end
    in any case."""

    def __init__(
        self, events: AsyncIterator[bytes], close: Callable[[], None], media_type: str = "text/event-stream"
    ) -> None:
        super().__init__(media_type=media_type, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.events, self.close = events, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                await until_disconnected(self._write(send), receive)
            except ApiError as error:
                if error.status != CLIENT_CLOSED_REQUEST:
                    raise
        finally:
            self.close()

    async def _write(self, send: Send) -> None:
        async for data in self.events:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def until_disconnected(work: Awaitable[T], receive: Receive) -> T:
    """The result of `work`, as long as the client is there.

    Raises:
        ApiError: the client has left; then `work` was cancelled.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ApiError(CLIENT_CLOSED_REQUEST, "the client has left")
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_disconnected(request: Request, work: Awaitable[T]) -> T:
    """The result of `work` for a request whose body was read; see `until_disconnected`."""
    return await until_disconnected(work, request.receive)
