"""Tickets: what lets a browser open one address by a link, because links and downloads carry no token."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from starlette.requests import Request

from gptsmith.serve.errors import ApiError

VALID_S = 60.0
MAX_TICKETS = 1000


class Tickets:
    """Each opens one address, once, for a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._opens: dict[str, tuple[str, float]] = {}

    def make(self, path: str) -> str:
        """A ticket for an address."""
        now = self._clock()
        self._opens = {ticket: entry for ticket, entry in self._opens.items() if entry[1] > now}
        while len(self._opens) >= MAX_TICKETS:
            del self._opens[next(iter(self._opens))]
        ticket = secrets.token_urlsafe(18)
        self._opens[ticket] = path, now + VALID_S
        return ticket

    def open(self, ticket: str, path: str) -> bool:
        """Whether a ticket opens an address; it is used up."""
        opens, until = self._opens.pop(ticket, ("", 0.0))
        return opens == path and self._clock() < until

    def require(self, request: Request) -> None:
        """Lets a request in whose last parameter is a ticket for the rest of its address.

        Raises:
            ApiError: it is not.
        """
        rest, _, ticket = request.url.query.rpartition("ticket=")
        path = request.scope["raw_path"].decode("ascii") + (f"?{rest.removesuffix('&')}" if rest else "")
        if not self.open(ticket, path):
            raise ApiError(401, "this link was opened already, or is more than a minute old", code="invalid_ticket")
