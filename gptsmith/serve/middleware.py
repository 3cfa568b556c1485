"""Who comes in: names, origins and keys are checked before a body is read; every request gets an id and is counted."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gptsmith.serve.errors import ApiError, api_error, draining

if TYPE_CHECKING:
    from gptsmith.serve.app import Server

LOCAL = frozenset({"localhost", "127.0.0.1", "::1", "testserver"})
OPEN = frozenset({"/health"})
"""What needs no key."""
POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
logger = logging.getLogger("gptsmith.serve")


class Doorkeeper:
    """The ASGI application around the routes."""

    def __init__(self, app: ASGIApp, server: Server, keys: frozenset[str]) -> None:
        self.app, self.server, self.keys = app, server, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, started = Headers(scope=scope), time.monotonic()
        request_id, status = f"req-{secrets.token_hex(12)}", 500
        origin = headers.get("origin", "")
        metrics = self.server.metrics
        metrics.requests_in_progress.inc()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                mutable = MutableHeaders(scope=message)
                mutable["x-request-id"] = request_id
                mutable["Content-Security-Policy"] = POLICY
                mutable["X-Content-Type-Options"] = "nosniff"
                if origin in self.server.settings.cors:
                    mutable["Access-Control-Allow-Origin"] = origin
                    mutable["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
                    mutable.add_vary_header("Origin")
            await send(message)

        try:
            refusal = self._refusal(scope, headers, origin)
            if refusal is not None:
                await refusal.response()(scope, receive, answer)
            elif scope["method"] == "OPTIONS" and origin:
                await answer({"type": "http.response.start", "status": 204, "headers": []})
                await answer({"type": "http.response.body", "body": b""})
            else:
                await self.app(scope, receive, answer)
        except Exception as error:
            # The text of an error may hold a person's words, so its kind alone is logged.
            logger.error("%s failed: %s", request_id, type(error).__name__)
            if status == 500:
                await api_error(error).response()(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            seconds = time.monotonic() - started
            metrics.requests_in_progress.dec()
            metrics.answered(route, status, seconds)
            logger.info("%s %s %s %d %.3f s", request_id, scope["method"], route, status, seconds)

    def _refusal(self, scope: Scope, headers: Headers, origin: str) -> ApiError | None:
        """Why a request is not let in; nothing where it is."""
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        bound = scope["server"][0] if scope.get("server") else ""
        allowed = {*LOCAL, bound, *self.server.settings.hosts}
        if host not in allowed:
            return ApiError(403, f"this server does not answer to the name {host!r} (--host-name adds one)")
        if origin and origin not in self.server.settings.cors and urlsplit(origin).netloc != headers.get("host"):
            return ApiError(403, "pages of other origins may not ask this server (--cors allows one)")
        if self.server.is_draining and scope["path"] != "/health":
            return draining()
        if self.keys and scope["path"] not in OPEN and scope["method"] != "OPTIONS":
            given = headers.get("authorization", "").removeprefix("Bearer ").encode("utf-8", "replace")
            matches = [hmac.compare_digest(given, key.encode()) for key in self.keys]  # all, in equal time
            if not any(matches):
                return ApiError(401, "a key is needed: send it as Authorization: Bearer KEY", code="invalid_api_key")
        return None
