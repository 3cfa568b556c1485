"""A server that listens until it is told to leave."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from gptsmith.base.errors import UserError
from gptsmith.serve.app import Server


def read_keys(path: str | Path | None, host: str) -> frozenset[str]:
    """The keys in a file, one a line.

    Raises:
        UserError: others can read the file, it has none, or none is given for a server that others can reach.
    """
    if path is None:
        if not is_loopback(host):
            raise UserError(f"--host {host} can be reached by others: give --api-key-file, a file with a key a line")
        return frozenset()
    file = Path(path)
    try:
        mode, text = file.stat().st_mode, file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    if os.name != "nt" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UserError(f"{file} can be read by others: chmod 600 {file}")
    keys = frozenset(line.strip() for line in text.splitlines() if line.strip())
    if not keys:
        raise UserError(f"{file} holds no key: write one a line")
    return keys


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound to a port.

    Raises:
        UserError: it is in use, or cannot be bound.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        return bound
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} of {host} is in use: choose another --port") from None
        raise UserError(f"{host}:{port} cannot be listened on: {error.strerror}") from None


def serve(server: Server, bound: socket.socket, ready: Callable[[str], None]) -> None:
    """Answers until SIGTERM or Ctrl-C. Then new requests are refused, and running ones may end by the deadline."""
    config = uvicorn.Config(
        server.app, log_config=None, access_log=False, server_header=False, date_header=False, proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(server.settings.drain_s)), h11_max_incomplete_event_size=65_536,
    )  # fmt: skip
    listening = _Listening(config)

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def leave() -> None:
            if server.is_draining:
                listening.force_exit = True
            server.is_draining = True
            listening.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, leave)
        await listening.serve(sockets=[bound])

    host, port = bound.getsockname()[:2]
    ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    asyncio.run(run())


class _Listening(uvicorn.Server):
    """Leaves signals to whoever started it, so that leaving well ends with exit code 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
