"""The routes of training."""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.model.presets import PRESETS
from gptsmith.serve.errors import ApiError
from gptsmith.serve.route import Route
from gptsmith.serve.studio.state import StudioState
from gptsmith.serve.studio.train.command import OBJECTIVES, TOKENIZERS
from gptsmith.serve.studio.train.offered_settings import CLASSES, offered_settings
from gptsmith.serve.studio.train.schemas import PlanWish, StartWish


async def list_models(state: StudioState, _: Request) -> Response:
    """The models that a training can begin with."""
    models = await asyncio.to_thread(state.studio.training.models.look)
    return JSONResponse({"models": [model.row() for model in models]})


async def list_settings(_: StudioState, request: Request) -> Response:
    """What can be set of a training of a verb."""
    verb = request.path_params["verb"]
    if verb not in CLASSES:
        raise ApiError(404, f"there are settings of {' and '.join(CLASSES)}", code="not_found")
    settings = await asyncio.to_thread(offered_settings, verb)
    return JSONResponse(
        {"settings": settings, "presets": list(PRESETS), "tokenizers": TOKENIZERS, "objectives": OBJECTIVES}
    )


async def plan(state: StudioState, body: PlanWish, _: dict[str, object]) -> Response:
    """What is known of a training before it starts."""
    return JSONResponse(await state.studio.when_read(partial(state.studio.training.plan, body)))


async def start(state: StudioState, body: StartWish, _: dict[str, object]) -> Response:
    """Queues a training."""
    return JSONResponse(await state.studio.when_read(partial(state.studio.training.start, body)))


ROUTES = (
    Route("/studio/api/train/models", "GET", list_models),
    Route("/studio/api/train/settings/{verb}", "GET", list_settings),
    Route("/studio/api/train/plan", "POST", plan, request_schema=PlanWish),
    Route("/studio/api/train", "POST", start, request_schema=StartWish),
)
