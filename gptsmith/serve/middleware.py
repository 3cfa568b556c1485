"""The middleware before every route: request id, log line, headers, keys, host names and origins."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gptsmith.serve.auth import ApiKeys
from gptsmith.serve.errors import ApiError, api_error, draining
from gptsmith.serve.log import LOGGER, REQUEST_ID, log_failure
from gptsmith.serve.route import Route, find_route
from gptsmith.serve.settings import ANY_ORIGIN
from gptsmith.serve.state import ServerState

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
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
EXPOSED = "x-request-id, retry-after"
UNKNOWN = "(none)"
INTERNAL_ERROR = 500


class RequestMiddleware:
    """Pure ASGI around the routes of a server."""

    def __init__(
        self, app: ASGIApp, state: ServerState, routes: Sequence[Route], unrecorded: Collection[str] = ()
    ) -> None:
        """
        Args:
            unrecorded: the labels of routes whose requests are neither counted nor logged.
        """
        self.app, self.state, self.routes, self.unrecorded = app, state, routes, unrecorded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        name = f"req_{secrets.token_hex(12)}"
        REQUEST_ID.set(name)
        scope["log_fields"] = {}
        headers = Headers(scope=scope)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._complete(MutableHeaders(scope=message), name, headers.get("origin"))
            await send(message)

        self.state.num_active_requests += 1
        self.state.metrics.requests_in_progress.inc()
        try:
            await self._checked(scope, receive, answer, headers)
        except Exception as error:
            answered = api_error(error)
            if answered.status >= INTERNAL_ERROR and not isinstance(error, ApiError):
                log_failure(error)
            # An answer that has begun is cut off by returning here.
            if not status:
                await answered.response(scope.get("error_body"))(scope, receive, answer)
        finally:
            self.state.num_active_requests -= 1
            self.state.metrics.requests_in_progress.dec()
            if not scope.get("is_passed_on"):  # then the replica that answered counts and logs it
                self._record(scope, name, status, time.monotonic() - started)

    def _record(self, scope: Scope, name: str, status: int, seconds: float) -> None:
        """Counts and logs a request that was answered."""
        label = scope.get("route_label", UNKNOWN)
        if label in self.unrecorded:
            return
        self.state.metrics.answered(label, status, seconds)
        counts = "".join(f" {key}={value}" for key, value in scope["log_fields"].items())
        method = scope["method"] if scope["method"] in METHODS else UNKNOWN
        LOGGER.info("%s %s %s %d %d ms%s", name, method, label, status, 1000 * seconds, counts)

    async def _checked(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        """
        Raises:
            ApiError: this request is not let in.
        """
        route = find_route(self.routes, scope["method"], scope["path"])
        scope["route_label"] = UNKNOWN if route is None else route.label
        scope["error_body"] = None if route is None else route.error_body
        _check_form(headers)
        self._check_names(headers)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers and headers.get("origin"):
            await PlainTextResponse("")(scope, receive, send)
            return
        if self.state.is_draining and (route is None or route.drains):
            raise draining()
        keys = self.state.keys
        needs_key = keys is not None and (route is None or route.needs_key)
        if keys is not None and needs_key and not _has_key(keys, headers):
            raise ApiError(
                401,
                "a key is needed: Authorization: Bearer KEY, or x-api-key: KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        await self.app(scope, receive, send)

    def _check_names(self, headers: Headers) -> None:
        """
        Raises:
            ApiError: the Host header is not a name of this server, or the page is of another origin.
        """
        host = headers.get("host", "")
        if not self.state.hosts.allows(host):
            raise ApiError(403, "unknown host name: allow it with --allow-host NAME", code="host_not_allowed")
        origin = headers.get("origin")
        if origin is None or self._is_cors(origin) or self.state.hosts.allows_origin(origin, host):
            return
        raise ApiError(
            403,
            "cross-origin requests are refused: allow an origin with --cors ORIGIN; if this is the server's own page "
            "behind a proxy, give the name that its address has with --allow-host NAME",
            code="origin_not_allowed",
        )

    def _is_cors(self, origin: str) -> bool:
        """Whether pages of this origin may send requests and read the answers."""
        return origin in self.state.settings.cors or ANY_ORIGIN in self.state.settings.cors

    def _complete(self, headers: MutableHeaders, name: str, origin: str | None) -> None:
        """Puts in what every answer says."""
        for key, value in HEADERS.items():
            headers.setdefault(key, value)
        headers.setdefault("Cache-Control", "no-store")
        headers.setdefault("X-Request-Id", name)
        if origin is not None and self._is_cors(origin):
            headers["Access-Control-Allow-Origin"] = ANY_ORIGIN if ANY_ORIGIN in self.state.settings.cors else origin
            headers["Access-Control-Expose-Headers"] = EXPOSED
            headers["Access-Control-Allow-Methods"] = "GET, POST"
            headers["Access-Control-Allow-Headers"] = "*, authorization"
            headers["Access-Control-Max-Age"] = "600"
        if self.state.settings.cors:
            headers.add_vary_header("Origin")


def _has_key(keys: ApiKeys, headers: Headers) -> bool:
    """Whether one of the two headers that may hold a key holds one that is accepted."""
    return keys.accepts(headers.get("authorization", "")) or keys.accepts(f"Bearer {headers.get('x-api-key', '')}")


def _check_form(headers: Headers) -> None:
    """
    Raises:
        ApiError: a header that decides about a request is there twice, or two say how long its body is. Programs on the
            way may have read another one than we would (RFC 9112, section 6.1).
    """
    for name in ("host", "origin", "authorization", "x-api-key"):
        if len(headers.getlist(name)) > 1:
            raise ApiError(400, f"the header {name} is there more than once", code="invalid_header")
    if "content-length" in headers and "transfer-encoding" in headers:
        raise ApiError(
            400,
            "the headers content-length and transfer-encoding do not go together",
            code="invalid_header",
            headers={"Connection": "close"},
        )
