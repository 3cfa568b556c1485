"""The routes of Improve."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.serve.chat.schemas.common import Schema
from gptsmith.serve.errors import ApiError
from gptsmith.serve.load import ModelDescription
from gptsmith.serve.route import Route
from gptsmith.serve.studio.improve.beginning import add_typed, begin, forget, planned
from gptsmith.serve.studio.improve.recipe import available
from gptsmith.serve.studio.state import StudioState

Text = Annotated[str, Field(min_length=1, max_length=20_000, pattern=r"\S")]


class ModelRequest(Schema):
    """A model to improve."""

    model: str


class PlanRequest(ModelRequest):
    """What improving it would take: as far as it is known, or by a plan."""

    is_exact: bool = False


class JudgeRequest(Schema):
    """Which answer of a pair is better."""

    improvement: str
    pair: Annotated[int, Field(ge=0, le=2**53)]
    choice: Literal["first", "second", "same"]


class PromptsRequest(Schema):
    """More prompts to judge on."""

    improvement: str
    prompts: Annotated[list[Text], Field(min_length=1, max_length=50)]


class DoRequest(Schema):
    """What is to be done with an improvement."""

    improvement: str
    action: Literal["cancel", "retry", "stop", "go_on", "undo"]


async def overview(state: StudioState, _: Request) -> Response:
    """The chat models that have marks, with how they would be improved, and the improvements."""
    await state.models.refresh()
    abouts = [entry.about for entry in state.models.entries.values() if entry.about.kind == "chat"]

    def found() -> dict[str, Any]:
        models, counts = [], state.studio.marks.counts()
        for about in abouts:
            marks = available(counts, about.name)
            if not marks.is_empty:
                plan = planned(about, marks)
                models.append(
                    {
                        "name": about.name,
                        "marks": marks.plain(),
                        "missing": marks.missing(),
                        "recipe": None if plan is None else plan.plain(),
                        "open": state.studio.improvements.open_one(about.name),
                    }
                )
        improvements = state.studio.improvements
        return {"models": models, "improvements": improvements.every(), "default": state.studio.default_model.name()}

    return JSONResponse(await asyncio.to_thread(found))


async def plan_one(state: StudioState, body: PlanRequest, _: dict[str, object]) -> Response:
    """What improving a model by the marks of now would take."""
    about = await _chat_model(state, body.model)
    return JSONResponse(await asyncio.to_thread(state.studio.improvement_plans.of, about, is_exact=body.is_exact))


async def begin_one(state: StudioState, body: ModelRequest, _: dict[str, object]) -> Response:
    """Improves a model by the marks of now."""
    about = await _chat_model(state, body.model)
    studio = state.studio
    name = await asyncio.to_thread(begin, studio.place, studio.marks, studio.improvements, about, studio.device)
    return JSONResponse({"improvement": name})


async def get_one(state: StudioState, request: Request) -> Response:
    """An improvement with its job, or the pair that is to be judged next."""
    return await _shown(state, request.path_params["id"])


async def judge(state: StudioState, body: JudgeRequest, _: dict[str, object]) -> Response:
    """Keeps a judgement."""
    await asyncio.to_thread(state.studio.improvements.judge, body.improvement, body.pair, body.choice)
    return await _shown(state, body.improvement)


async def add_prompts(state: StudioState, body: PromptsRequest, _: dict[str, object]) -> Response:
    """Adds prompts that a person typed, but for those that were learnt from."""
    studio = state.studio
    num_learnt = await asyncio.to_thread(add_typed, studio.place, studio.improvements, body.improvement, body.prompts)
    return await _shown(state, body.improvement, num_learnt=num_learnt)


async def act(state: StudioState, body: DoRequest, _: dict[str, object]) -> Response:
    """Cancels or repeats the training, stops the judging or goes on with it, or undoes the choice of the model."""
    await asyncio.to_thread(getattr(state.studio.improvements, body.action), body.improvement)
    return await _shown(state, body.improvement)


async def remove(state: StudioState, request: Request) -> Response:
    """Removes an improvement, and not its model."""
    await asyncio.to_thread(forget, state.studio.place, state.studio.improvements, request.path_params["id"])
    return JSONResponse({})


async def _chat_model(state: StudioState, name: str) -> ModelDescription:
    about = (await state.models.entry(name)).about
    if about.kind != "chat":
        raise ApiError(400, f"{about.name} does not answer in conversations", param="model", code="not_a_chat_model")
    return about


async def _shown(state: StudioState, name: str, **more: Any) -> Response:
    studio = state.studio
    shown = await asyncio.to_thread(studio.improvements.get, name)
    is_writing = shown["state"] == "judging" and await studio.pair_writer.ensure(state, name)
    training = None
    if shown["state"] in ("training", "failed"):
        job = await asyncio.to_thread(studio.jobs.get, shown["job"])
        training = {key: job[key] for key in ("state", "progress", "message", "notice")}
    trouble = None if shown["pair"] else studio.pair_writer.troubles.get(name)
    return JSONResponse({**shown, "training": training, "is_writing": is_writing, "trouble": trouble, **more})


ROUTES = (
    Route("/studio/api/improve/plan", "POST", plan_one, request_schema=PlanRequest),
    Route("/studio/api/improve/judge", "POST", judge, request_schema=JudgeRequest),
    Route("/studio/api/improve/prompts", "POST", add_prompts, request_schema=PromptsRequest),
    Route("/studio/api/improve/do", "POST", act, request_schema=DoRequest),
    Route("/studio/api/improve/{id}", "GET", get_one),
    Route("/studio/api/improve/{id}", "DELETE", remove),
    Route("/studio/api/improve", "GET", overview),
    Route("/studio/api/improve", "POST", begin_one, request_schema=ModelRequest),
)
