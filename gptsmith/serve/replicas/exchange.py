"""One request to a replica, and its answer as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import h11

READ_BYTES = 1 << 16
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"expect",
        b"proxy-connection",
        b"date",
    )
)
"""Headers that are for one connection (RFC 9110, section 7.6.1), and the date, which each server puts in."""
Pairs = Sequence[tuple[bytes, bytes]]


class LostError(Exception):
    """The replica does not answer, or not to the end."""


class RefusedError(LostError):
    """The replica takes no connection, and so has not seen the request."""


@dataclass(frozen=True)
class RawRequest:
    """A request as it came, with its whole body."""

    method: str
    target: bytes
    headers: Pairs
    body: bytes


class Answer:
    """The status and headers of an answer, and its body piece by piece."""

    def __init__(self, reader: asyncio.StreamReader, connection: h11.Connection, head: h11.Response) -> None:
        self._reader, self._connection = reader, connection
        self.status = head.status_code
        self.headers = passed_on(head.headers)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body.

        Raises:
            LostError: it breaks off.
        """
        while isinstance(event := await _next(self._reader, self._connection), h11.Data):
            yield bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise LostError

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            LostError: it breaks off.
        """
        return b"".join([piece async for piece in self.pieces()])


@asynccontextmanager
async def answer_of(port: int, raw: RawRequest) -> AsyncIterator[Answer]:
    """The answer of a replica; it ends its work when the block is left.

    Raises:
        LostError: there is none.
    """
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        raise RefusedError from None
    try:
        connection = h11.Connection(h11.CLIENT)
        try:
            writer.write(_written(connection, raw))
            await writer.drain()
        except OSError:
            raise LostError from None
        head = await _next(reader, connection)
        while isinstance(head, h11.InformationalResponse):
            head = await _next(reader, connection)
        if not isinstance(head, h11.Response):
            raise LostError
        yield Answer(reader, connection, head)
    finally:
        writer.transport.abort()


def _written(connection: h11.Connection, raw: RawRequest) -> bytes:
    headers = [(name, value) for name, value in passed_on(raw.headers) if name != b"content-length"]
    headers += [(b"connection", b"close")]
    if raw.body or raw.method not in ("GET", "HEAD"):
        headers.append((b"content-length", str(len(raw.body)).encode()))
    data = connection.send(h11.Request(method=raw.method, target=raw.target, headers=headers))
    assert data is not None
    return data + (connection.send(h11.Data(raw.body)) or b"") + (connection.send(h11.EndOfMessage()) or b"")


async def _next(reader: asyncio.StreamReader, connection: h11.Connection) -> h11.Event:
    """The next event of an answer.

    Raises:
        LostError: it breaks off.
    """
    try:
        while not isinstance(event := connection.next_event(), h11.Event):
            if event is h11.PAUSED:  # what comes after the end of an answer is no part of it
                raise LostError
            connection.receive_data(await reader.read(READ_BYTES))
    except (OSError, h11.RemoteProtocolError):
        raise LostError from None
    return event


def passed_on(headers: Iterable[tuple[bytes, bytes]]) -> Pairs:
    """The headers that are not for one connection, which is known of some, and which a `Connection` header says of
    others. Names are in lower case."""
    given = list(headers)
    named = (value for name, value in given if name == b"connection")
    own = {option.strip().lower() for value in named for option in value.split(b",")} - {b"host"} | HOP_BY_HOP
    return [(name, value) for name, value in given if name not in own]
