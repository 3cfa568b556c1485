"""Numbers in the queries of requests, and the parts of lists that they ask for."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from gptsmith.serve.errors import ApiError

USUAL_ROWS, MOST_ROWS = 200, 1000


def number_asked(request: Request, name: str, default: int | None = None) -> int:
    """A number of the query.

    Raises:
        ApiError: it is not there, or no number.
    """
    text = request.query_params.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 18):
        raise ApiError(400, f"{name}: {text[:40]!r} is not a whole number from 0 on", param=name)
    return int(text)


def page_of(items: Any, request: Request) -> dict[str, Any]:
    """The part of a list that a request asks for by `offset` and `limit`, and how many there are."""
    offset, limit = number_asked(request, "offset", 0), min(number_asked(request, "limit", USUAL_ROWS), MOST_ROWS)
    return {"items": items[offset : offset + limit], "num_items": len(items)}
