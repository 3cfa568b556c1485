"""What stands before every route: an id and a line in the log, headers, who may ask and by which name."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gptsmith.serve.errors import ApiError, api_error, draining
from gptsmith.serve.log import LOGGER, REQUEST_ID, log_failure

if TYPE_CHECKING:
    from gptsmith.serve.app import Server

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The last two: no script writes HTML into the page, not even the page's own."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
OPEN_ROUTES = ("/", "/page/{name}", "/health", "/openapi.json")
"""What may be had without a key: there is nothing of anybody's in it."""
UNDRAINED = ("/health", "/metrics")
EXPOSED = "x-request-id, retry-after"
UNKNOWN = "(none)"


class Guard:
    """Pure ASGI around the routes of a server."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self.app, self.server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        name = f"req_{secrets.token_hex(12)}"
        REQUEST_ID.set(name)
        figures: dict[str, object] = {}
        scope["figures"] = figures
        headers = Headers(scope=scope)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._complete(MutableHeaders(scope=message), name, headers.get("origin"))
            await send(message)

        self.server.num_answering += 1
        self.server.metrics.requests_in_progress.inc()
        try:
            await self._checked(scope, receive, answer, headers)
        except Exception as error:
            if not isinstance(error, ApiError):
                log_failure(error)
            # An answer that has begun is cut off by returning here.
            if not status:
                await api_error(error).response()(scope, receive, answer)
        finally:
            self.server.num_answering -= 1
            self.server.metrics.requests_in_progress.dec()
            route, seconds = scope.get("route_path", UNKNOWN), time.monotonic() - started
            self.server.metrics.answered(route, status, seconds)
            counts = "".join(f" {key}={value}" for key, value in figures.items())
            method = scope["method"] if scope["method"] in METHODS else UNKNOWN
            LOGGER.info("%s %s %s %d %d ms%s", name, method, route, status, 1000 * seconds, counts)

    async def _checked(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        """
        Raises:
            ApiError: this request is not let in.
        """
        path = known_path(scope["path"])
        scope["route_path"] = path
        self._check_names(headers)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers and headers.get("origin"):
            await PlainTextResponse("")(scope, receive, send)
            return
        if self.server.is_draining and path not in UNDRAINED:
            raise draining()
        keys = self.server.keys
        if keys is not None and path not in OPEN_ROUTES and not keys.accepts(headers.get("authorization", "")):
            raise ApiError(
                401,
                "a key is needed: Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        await self.app(scope, receive, send)

    def _check_names(self, headers: Headers) -> None:
        """
        Raises:
            ApiError: the server is asked for by a name that is not its own, or by a page from elsewhere.
        """
        host = headers.get("host", "")
        if not self.server.is_own_host(host):
            raise ApiError(
                403, "this server is not called by that name: --allow-host NAME lets it be", code="host_not_allowed"
            )
        origin = headers.get("origin")
        if origin is None or origin in self.server.settings.cors:
            return
        if urlsplit(origin).netloc != host:
            raise ApiError(
                403, "pages from elsewhere may not ask here: --cors ORIGIN lets them", code="origin_not_allowed"
            )

    def _complete(self, headers: MutableHeaders, name: str, origin: str | None) -> None:
        """Puts in what every answer says."""
        for key, value in HEADERS.items():
            headers.setdefault(key, value)
        headers.setdefault("Cache-Control", "no-store")
        headers["X-Request-Id"] = name
        if origin is not None and origin in self.server.settings.cors:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = EXPOSED
            headers["Access-Control-Allow-Methods"] = "GET, POST"
            headers["Access-Control-Allow-Headers"] = "*, authorization"
            headers["Access-Control-Max-Age"] = "600"
        if self.server.settings.cors:
            headers.add_vary_header("Origin")


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PATHS = (
    "/", "/health", "/metrics", "/openapi.json", "/v1/models", "/v1/completions", "/v1/chat/completions",
    "/v1/responses", "/v1/embeddings", "/tokenize", "/detokenize",
)  # fmt: skip


def known_path(path: str) -> str:
    """The route of a path, for logs and counts, which may not hold what a person writes."""
    if path in PATHS:
        return path
    if path.startswith("/page/"):
        return "/page/{name}"
    return "/v1/models/{name}" if path.startswith("/v1/models/") else UNKNOWN


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that is bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def own_names(host: str, more: Iterable[str]) -> frozenset[str]:
    """The names that a server may be asked for by. Any page can give a name of its own to an address of ours, so that
    a browser takes both for one place; a name that is not one of these is not answered."""
    names = {*LOOPBACK_NAMES, host.lower(), *(name.lower() for name in more)}
    if not is_loopback(host):
        machine = socket.gethostname().lower()
        names |= {machine, f"{machine}.local"}
    return frozenset(names)


def host_name(host: str) -> str:
    """The name in a Host header, without its port: `::1` of `[::1]:8000`."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def is_address(name: str) -> bool:
    """Whether a name is an address, which no page can make its own."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
