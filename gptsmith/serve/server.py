"""A server on a port, from its first request to its last."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from gptsmith.base.errors import ConfigurationError
from gptsmith.serve.log import LOGGER
from gptsmith.serve.settings import ServeSettings
from gptsmith.serve.state import ServerState
from gptsmith.serve.tls import TlsFiles

POLL_S = 0.02
LAST_WORDS_S = 1
MAX_CONNECTIONS_WAITING = 512
ACCEPTED_AT_ONCE = 64
MAX_CONNECTIONS = 10_000
FEWEST_CONNECTIONS = 8
ACCEPT_LOG_S = 10


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigurationError: the port is not available, or the host is not this machine's.
    """
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"--port {port}: a port is a number from 1 to 65535, or 0 for a free one")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # With protocol 0 instead of TCP's, asyncio would leave TCP_NODELAY off: each answer would wait 40 ms.
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"--host {host} is no address of this machine ({error.strerror})") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(MAX_CONNECTIONS_WAITING)
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"--port {port} on {host} is not available ({error.strerror}): choose another, or 0 for a free one"
        ) from None
    return listening


class GracefulServer(uvicorn.Server):
    """A server that runs until SIGTERM or Ctrl-C. Then it takes no new requests, lets running ones continue up to a
    deadline, and ends; a second signal ends it at once."""

    def __init__(self, state: ServerState, app: ASGIApp, tls: TlsFiles | None = None) -> None:
        self.state, settings = state, state.settings
        most = max_connections()
        super().__init__(
            uvicorn.Config(
                app,
                http=_protocol(settings, most),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ssl_certfile=None if tls is None else tls.certificate,
                ssl_keyfile=None if tls is None else tls.key,
                timeout_graceful_shutdown=LAST_WORDS_S,
                timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]
                backlog=max(1, min(ACCEPTED_AT_ONCE, most // 4)),
            )
        )
        self.stopped_by: int | None = None
        self.has_started = threading.Event()
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._os_error_logged_at = -float(ACCEPT_LOG_S)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._log_loop_error)
        await super().startup(sockets)
        for listening in sockets or ():
            # asyncio accepts as many at once as its backlog is long. As many as before may wait in the kernel.
            listening.listen(MAX_CONNECTIONS_WAITING)
        if self.started:
            self.has_started.set()

    def _log_loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Says where something went wrong outside of requests; of what comes again and again, now and then."""
        error = context.get("exception")
        if not isinstance(error, OSError):
            LOGGER.error("%s: %s", context.get("message"), type(error).__name__)
        elif time.monotonic() - self._os_error_logged_at > ACCEPT_LOG_S:
            self._os_error_logged_at = time.monotonic()
            LOGGER.error("a connection failed: %s", error.strerror)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to end; at the second signal, ends."""
        self.stopped_by = sig
        if self.state.is_draining or self._loop is None:
            self.should_exit = self.force_exit = True
            return
        self.drain()

    def drain(self) -> None:
        """Begins to end, from any thread."""
        self.state.is_draining = True
        assert self._loop is not None, "it can only be drained once it runs"
        self._loop.call_soon_threadsafe(self._begin_drain)

    def end(self) -> bool:
        """Ends every text and then the server, from any thread; returns whether it runs."""
        self.state.is_draining = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end)
        return self._loop is not None

    def call_soon(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begins some work beside the requests, from any thread."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(work(), self._loop)

    def _end(self) -> None:
        self.state.cancel_all()
        self.should_exit = True

    def _begin_drain(self) -> None:
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        LOGGER.info("ending: %d requests are being answered", self.state.num_active_requests)
        deadline = time.monotonic() + self.state.settings.drain_s
        while self.state.num_active_requests and time.monotonic() < deadline:
            await asyncio.sleep(POLL_S)
        if self.state.num_active_requests:
            LOGGER.warning("shutting down: %d requests are cancelled", self.state.num_active_requests)
            self.state.cancel_all()
        self.should_exit = True


def max_connections() -> int:
    """The most connections at once, so that files stay free for all else: as many as this process may have open, which
    is raised as far as it may be."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MAX_CONNECTIONS
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + 10 * ACCEPTED_AT_ONCE
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, max(FEWEST_CONNECTIONS, allowed - 4 * ACCEPTED_AT_ONCE, allowed // 4))


def _protocol(settings: ServeSettings, most: int) -> type[H11Protocol]:
    """A connection that is cut where its client neither says what it wants nor takes in what it is given, and where
    others need its place while it is silent."""
    opened: dict[H11Protocol, None] = {}
    """All connections, oldest first; at most `most`."""

    class Connection(H11Protocol):
        """HTTP/1.1 with a limit to silence."""

        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            self.access_log = False  # it would tell the paths that people ask for

        _stalled: asyncio.TimerHandle | None = None
        _silent: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._silent = self.loop.call_later(settings.body_timeout_s, self._cut_if_silent)
            opened[self] = None
            if len(opened) > most:
                self._make_room()

        def _make_room(self) -> None:
            """Cuts the oldest connection on which nothing was requested yet, else the oldest that waits for its next
            request, else this one."""
            silent = (other for other in opened if other is not self and other.cycle is None)
            waiting = (other for other in opened if other.cycle is not None and other.cycle.response_complete)
            cut = next(silent, None) or next(waiting, self)
            opened.pop(cut, None)
            cut.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in (self._stalled, self._silent):
                if timer is not None:
                    timer.cancel()
            opened.pop(self, None)
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stalled = self.loop.call_later(settings.stall_timeout_s, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._stalled is not None:
                self._stalled.cancel()
                self._stalled = None

        def _cut_if_silent(self) -> None:
            """Cuts a connection whose request has not even sent its headers."""
            if self.cycle is None:
                self.transport.abort()
            elif self.cycle.response_complete and self.timeout_keep_alive_task is None:
                # A second request has begun on this connection, and not come further.
                self.transport.abort()
            else:
                self._silent = self.loop.call_later(settings.body_timeout_s, self._cut_if_silent)

    return Connection
