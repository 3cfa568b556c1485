"""The addresses of marks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.base.errors import UserError
from gptsmith.base.json_text import json_text
from gptsmith.serve.errors import ApiError, refused
from gptsmith.serve.route import Route
from gptsmith.serve.studio.marks.examples import CONTINUATION, SHAPES
from gptsmith.serve.studio.marks.schemas import KnownRequest, MarkRequest
from gptsmith.serve.studio.marks.weights import markers_of, weights_sha256
from gptsmith.serve.studio.queries import number_asked
from gptsmith.serve.studio.state import StudioState

T = TypeVar("T")
MAX_ROWS = 200


async def list_marks(state: StudioState, request: Request) -> Response:
    """The marks of `model` and `kind`, `limit` from `offset` on, newest first, and how many there are."""
    query, marks = request.query_params, state.studio.marks
    model, kind = query.get("model") or None, query.get("kind") or None
    offset, limit = number_asked(request, "offset", 0), min(MAX_ROWS, number_asked(request, "limit", 50))
    rows, total = await asyncio.to_thread(
        lambda: (marks.list(model, kind, offset=offset, limit=limit), marks.count(model, kind))
    )
    return JSONResponse({"marks": rows, "total": total})


async def counts(state: StudioState, _: Request) -> Response:
    """How many marks there are by model, kind and verdict, and what each objective can learn from."""
    marks = state.studio.marks

    def counted() -> dict[str, Any]:
        num_examples = marks.num_examples() | {CONTINUATION: marks.count(kind=CONTINUATION)}
        return {"total": marks.count(), "counts": marks.counts(), "examples": num_examples}

    return JSONResponse(await asyncio.to_thread(counted))


async def export(state: StudioState, request: Request) -> Response:
    """Marks as a file of examples, for who has a ticket."""
    state.studio.tickets.require(request)
    query = request.query_params
    objective: Any = query.get("objective")
    marks, model, with_thumbs = state.studio.marks, query.get("model") or None, query.get("with_thumbs") == "yes"
    if objective == CONTINUATION:
        records = marks.continuations()
    elif objective in SHAPES:
        records = marks.examples(objective, model=model, with_thumbs=with_thumbs)
    else:
        raise refused("objective", f"must be one of {', '.join((*SHAPES, CONTINUATION))}")
    lines = (json_text(record, ensure_ascii=False) + "\n" for record in records)
    content = await asyncio.to_thread("".join, lines)
    headers = {"Content-Disposition": f'attachment; filename="marks-{objective}.jsonl"'}
    return Response(content, media_type="application/jsonl", headers=headers)


async def keep(state: StudioState, body: MarkRequest, _: dict[str, object]) -> Response:
    """Keeps a mark; the same one twice is one."""
    mark = body.model_dump()
    await state.models.look_once()  # the page may have been open when the studio began anew

    def work() -> bool:
        for answer in mark["answers"]:
            if not answer["sources"]:
                del answer["sources"]
            else:
                answer["markers"] = markers_of(state.models, answer["model"])
            answer["weights"] = weights_sha256(state.models, answer["model"], answer.pop("made"))
        return state.studio.marks.keep(mark)

    return JSONResponse({"is_latest": await _written(work)})


async def known(state: StudioState, body: KnownRequest, _: dict[str, object]) -> Response:
    """The verdicts of marks by their ids."""
    return JSONResponse({"marks": await asyncio.to_thread(state.studio.marks.known, body.ids)})


async def take_back(state: StudioState, request: Request) -> Response:
    """Deletes a mark."""
    at_ms = number_asked(request, "at_ms") if "at_ms" in request.query_params else None
    name = request.path_params["id"]
    return JSONResponse({"is_latest": await _written(lambda: state.studio.marks.take_back(name, at_ms))})


async def delete_all(state: StudioState, _: Request) -> Response:
    """Deletes all marks."""
    return JSONResponse({"num_deleted": await _written(state.studio.marks.delete_all)})


async def _written(work: Callable[[], T]) -> T:
    """What comes of a change.

    Raises:
        ApiError: it could not be written, and may be tried again.
    """
    try:
        return await asyncio.to_thread(work)
    except UserError as error:
        raise ApiError(507, str(error), code="not_written") from None


ROUTES = (
    Route("/studio/api/marks/export", "GET", export, needs_key=False),
    Route("/studio/api/marks/counts", "GET", counts),
    Route("/studio/api/marks/known", "POST", known, request_schema=KnownRequest),
    Route("/studio/api/marks/{id}", "DELETE", take_back),
    Route("/studio/api/marks", "GET", list_marks),
    Route("/studio/api/marks", "POST", keep, request_schema=MarkRequest),
    Route("/studio/api/marks", "DELETE", delete_all),
)
