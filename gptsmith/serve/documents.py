"""GET /v1/documents: the folders in which questions are looked up, and a passage of theirs with what is around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gptsmith.retrieval.documents import Documents, Source
from gptsmith.serve.errors import ApiError
from gptsmith.serve.json_slices import json_bytes
from gptsmith.serve.state import State

DOCUMENTS_SCHEMA = {
    "type": "object",
    "required": ["object", "num_files", "num_passages", "skipped"],
    "properties": {"object": {"const": "documents"}},
}
PASSAGE_SCHEMA = {
    "type": "object",
    "required": ["object", "id", "file", "headings", "line", "text", "before", "after"],
    "properties": {"object": {"const": "documents.passage"}},
}


async def describe_documents(state: State, _: Request) -> Response:
    """How much is searched, and the files that are not, with the reasons.

    Raises:
        ApiError: no documents are served.
    """
    documents = _documents(state)

    def described() -> dict[str, Any]:
        num_files, num_passages = documents.index.counts()
        counts = {"num_files": num_files, "num_passages": num_passages}
        return {"object": "documents", **counts, "skipped": documents.skipped}

    return Response(json_bytes(await state.models.workers.run_on_reader(described)), media_type="application/json")


async def get_passage(state: State, request: Request) -> Response:
    """A passage, with those before and after it in its document.

    Raises:
        ApiError: there is none of that id, or no documents are served.
    """
    documents, id_ = _documents(state), request.path_params["name"]
    return passage_response(await state.models.workers.run_on_reader(lambda: documents.passage(id_)), id_)


def passage_response(found: Sequence[Source], id_: str) -> Response:
    """The passage of an id, among its neighbours.

    Raises:
        ApiError: it is not there.
    """
    passage = next((one for one in found if one.id == id_), None)
    if passage is None:
        raise ApiError(404, "this passage is gone: its file was changed or deleted", code="not_found")
    at = found.index(passage)
    answer = {
        "object": "documents.passage",
        **passage.fields(),
        "before": "\n\n".join(one.text for one in found[:at]),
        "after": "\n\n".join(one.text for one in found[at + 1 :]),
    }
    return Response(json_bytes(answer), media_type="application/json")


def _documents(state: State) -> Documents:
    if state.models.documents is None:
        raise ApiError(404, "no documents are served: start the server with --documents FOLDER", code="not_found")
    return state.models.documents
