"""POST /v1/trace: where a text stands in what a model learnt from."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from gptsmith.base.errors import UserError
from gptsmith.serve.errors import ApiError, api_error
from gptsmith.serve.explain.schemas import TraceRequest
from gptsmith.serve.json_slices import json_bytes
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.state import State


async def trace(state: State, body: TraceRequest, log_fields: dict[str, Any]) -> Response:
    """The passages of a text that a model learnt from. The first request indexes what it learnt from.

    Raises:
        ApiError: sources are not for others, or there are none.
    """
    if not state.shows_sources:
        raise ApiError(
            403,
            "the texts that a model learnt from are shown on the server's own machine only: who runs the server can "
            "share them with --share-sources",
            code="sources_not_shared",
        )
    served = await state.models.writer(body.model)
    log_fields |= {"model": served.name}
    with served.reserved(1):
        found = await state.models.run_on_explainer(lambda: _traced(served, body))
    return Response(json_bytes(found), media_type="application/json")


def _traced(served: ServedModel, body: TraceRequest) -> dict[str, Any]:
    """The passages as JSON values, and which texts are not here.

    Raises:
        ApiError: there is nothing to look in.
    """
    try:
        passages = served.tracer.trace(body.text)
    except UserError as error:
        raise api_error(error) from None
    return {"sources": [passage.plain() for passage in passages], "missing": served.tracer.learned.missing}
