"""The routes of runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.base.bounded import read_bytes
from gptsmith.base.errors import UserError
from gptsmith.run.folder import SETTINGS
from gptsmith.serve.chat.schemas.common import Schema
from gptsmith.serve.errors import ApiError
from gptsmith.serve.route import Route
from gptsmith.serve.studio.queries import number_asked
from gptsmith.serve.studio.state import StudioState
from gptsmith.train.report import REPORT, plan_of, report
from gptsmith.workflows.watch import MAX_REPORT_BYTES, REPORT_HEADERS, news
from gptsmith.workflows.watched_runs import listing

MAX_COMPARED = 8
NUM_ENDED_JOBS = 20
PLAN = "plan"
"""The verb whose outcome is shown where it was asked for."""
MAX_SETTINGS_BYTES = 200_000


class RunRequest(Schema):
    """A run."""

    run: str


class RunsRequest(Schema):
    """Runs beside each other."""

    runs: Annotated[list[str], Field(max_length=100)]


class RenameRequest(RunRequest):
    """A run, and its new name."""

    name: str


async def list_runs(state: StudioState, _: Request) -> Response:
    """The runs, the newest first."""
    return JSONResponse({"runs": await asyncio.to_thread(state.studio.runs.rows)})


async def home(state: StudioState, _: Request) -> Response:
    """What Home shows: the runs, the newest first, and the jobs."""

    def found() -> dict[str, Any]:
        return {"runs": state.studio.runs.rows(), "jobs": state.studio.jobs.list(NUM_ENDED_JOBS, but=PLAN)}

    return JSONResponse(await asyncio.to_thread(found))


async def get_run(state: StudioState, request: Request) -> Response:
    """What is new in a run's log from a byte offset on, with its row and plan; at offset 0 its settings, too."""
    name, offset = request.path_params["name"], number_asked(request, "offset", 0)
    return JSONResponse(await asyncio.to_thread(_news, state, name, offset))


def _news(state: StudioState, name: str, offset: int) -> dict[str, Any]:
    runs = state.studio.runs
    folder = runs.folders().get(name)
    job = next(iter(state.studio.jobs.list(1, run=name)), None)
    if folder is None:
        if job is None:
            runs.folder(name)
        return {"run": None, "job": job, "offset": 0}
    settings = {} if offset else {"settings": _settings(folder)}
    row = {**runs.row(name), "followers": runs.made_from(name)}
    return {"run": row, "job": job, "plan": plan_of(folder), **settings, **news(folder, offset)}


def _settings(folder: Path) -> str:
    try:
        return read_bytes(folder / SETTINGS, MAX_SETTINGS_BYTES).decode("utf-8", "replace")
    except UserError:
        return ""


async def compare(state: StudioState, request: Request) -> Response:
    """Some runs beside each other: the settings in which they differ, and the figures of their logs."""
    names = _several(request.query_params.getlist("run"))
    return JSONResponse(await asyncio.to_thread(_compared, state, names))


def _several(runs: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(runs))
    if not 2 <= len(names) <= MAX_COMPARED:
        raise ApiError(400, f"run: between 2 and {MAX_COMPARED} runs can be compared", param="run")
    return names


def _compared(state: StudioState, names: list[str]) -> dict[str, Any]:
    folders = {name: state.studio.runs.folder(name) for name in names}
    found = listing(folders)
    for row in found["runs"]:
        row |= {"row": state.studio.runs.row(row["name"]), "news": news(folders[row["name"]], 0)}
    return found


async def list_differences(state: StudioState, request: Request) -> Response:
    """Whether runs differ by more than chance from the first, as far as it was measured."""
    names = _several(request.query_params.getlist("run"))
    return JSONResponse({"differences": await asyncio.to_thread(state.studio.differences.of, names)})


async def measure_differences(state: StudioState, body: RunsRequest, _: dict[str, object]) -> Response:
    """Measures that, in jobs."""
    names = _several(body.runs)
    return JSONResponse({"differences": await asyncio.to_thread(state.studio.differences.measure, names)})


async def resume(state: StudioState, body: RunRequest, _: dict[str, object]) -> Response:
    """Queues the rest of a run's training."""
    return JSONResponse({"job": await asyncio.to_thread(state.studio.run_changes.resume, body.run)})


async def rename(state: StudioState, body: RenameRequest, _: dict[str, object]) -> Response:
    """Gives a run another name."""
    await asyncio.to_thread(state.studio.run_changes.rename, body.run, body.name)
    return JSONResponse({"name": body.name})


async def delete(state: StudioState, body: RunRequest, _: dict[str, object]) -> Response:
    """Deletes a run."""
    await asyncio.to_thread(state.studio.run_changes.delete, body.run)
    return JSONResponse({})


async def use_by_default(state: StudioState, body: RunRequest, _: dict[str, object]) -> Response:
    """Has a run answer where none is chosen."""
    await asyncio.to_thread(state.studio.run_changes.use_by_default, body.run)
    return JSONResponse({})


async def show_report(state: StudioState, request: Request) -> Response:
    """The report of a run, which may have come from elsewhere: a page that reads nothing of this server."""
    state.studio.tickets.require(request)
    folder = await asyncio.to_thread(state.studio.runs.folder, request.path_params["name"])
    content = await asyncio.to_thread(_report, folder)
    return Response(content, headers={**REPORT_HEADERS, "Content-Type": "text/html; charset=utf-8"})


def _report(folder: Path) -> bytes:
    path = folder / REPORT
    if not path.is_file():
        path = report(folder)
    return read_bytes(path, MAX_REPORT_BYTES)


ROUTES = (
    Route("/studio/api/runs/resume", "POST", resume, request_schema=RunRequest),
    Route("/studio/api/runs/rename", "POST", rename, request_schema=RenameRequest),
    Route("/studio/api/runs/delete", "POST", delete, request_schema=RunRequest),
    Route("/studio/api/runs/default", "POST", use_by_default, request_schema=RunRequest),
    Route("/studio/api/report/{name}", "GET", show_report, needs_key=False),
    Route("/studio/api/compared", "GET", compare),
    Route("/studio/api/differences", "GET", list_differences),
    Route("/studio/api/differences", "POST", measure_differences, request_schema=RunsRequest),
    Route("/studio/api/runs/{name}", "GET", get_run),
    Route("/studio/api/runs", "GET", list_runs),
    Route("/studio/api/home", "GET", home),
)
