"""GET /v1/models: the models that are served."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse

from gptsmith.serve.model_entry import STATES
from gptsmith.serve.state import State


async def list_models(state: State, _: Request) -> JSONResponse:
    """The cards of all models, loaded or not."""
    await state.models.refresh()
    cards = [entry.card(state.settings) for entry in state.models.entries.values()]
    return JSONResponse({"object": "list", "data": cards})


async def get_model(state: State, request: Request) -> JSONResponse:
    """The card of one model.

    Raises:
        ApiError: there is none of that name.
    """
    return JSONResponse((await state.models.entry(request.path_params["name"])).card(state.settings))


MODEL_SCHEMA = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by", "gptsmith"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
        "gptsmith": {
            "type": "object",
            "required": [
                "state", "failure", "kind", "labels", "context_length", "num_parameters",
                "vocab_size", "trained_on", "made", "prompts",
                "sampling", "max_choices", "max_tokens", "end_tokens",
            ],
            "properties": {
                "state": {"enum": list(STATES)},
                "failure": {"type": ["string", "null"]},
                "kind": {"enum": ["chat", "base", "classifier"]},
                "labels": {"type": ["array", "null"], "items": {"type": "string"}},
                "context_length": {"type": "integer"},
                "num_parameters": {"type": "integer"},
                "vocab_size": {"type": "integer"},
                "trained_on": {"type": "string"},
                "made": {"type": ["string", "null"]},
                "prompts": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
                "sampling": {"type": "object"},
                "max_choices": {"type": "integer"},
                "max_tokens": {"type": ["integer", "null"]},
                "end_tokens": {"type": "array", "items": {"type": "string"}},
            },
        },
    },
}  # fmt: skip
