"""POST /v1/explain: why a model wrote a word, as claims with their tests."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from starlette.responses import Response

from gptsmith.base.errors import UserError
from gptsmith.explain.check import check_model
from gptsmith.explain.claim import Claim, Explanation
from gptsmith.explain.methods import DEFAULT_METHODS, KINDS
from gptsmith.explain.question import Question
from gptsmith.generate.api import generate
from gptsmith.serve.errors import api_error, refused
from gptsmith.serve.explain.asked import read_question
from gptsmith.serve.explain.schemas import ExplainRequest
from gptsmith.serve.explain.turns import Turns, turn_taking
from gptsmith.serve.json_slices import json_bytes
from gptsmith.serve.log import log_failure
from gptsmith.serve.served_model import ServedModel
from gptsmith.serve.server_sent_events import EventStream, event
from gptsmith.serve.state import State

PROGRESS_S = 0.5
MAX_REWRITTEN = 120
"""Tokens that are written without some parts, if no number is given."""
MAX_UNITS = 4096
"""Parts of a prompt that one request may have."""


async def explain(state: State, body: ExplainRequest, log_fields: dict[str, Any]) -> Response:
    """Why a model wrote a word of its reply, computed in turns between the steps of the texts that are being written.

    Raises:
        ApiError: it cannot be explained; a stream says so itself.
    """
    served = await state.models.writer(body.model)
    log_fields |= {"model": served.name}
    turns = Turns(served.engine, lambda: state.models.is_writing)
    work = partial(_explained, served, body, turns)
    with ExitStack() as stack:
        stack.enter_context(served.reserved(1))
        if body.stream:
            running = asyncio.ensure_future(state.models.run_on_explainer(work))
            release = stack.pop_all()
            release.callback(turns.give_up)
            return EventStream(_events(running, turns), release.close)
        stack.callback(turns.give_up)
        return Response(json_bytes(await state.models.run_on_explainer(work)), media_type="application/json")


async def _events(running: asyncio.Future[dict[str, Any]], turns: Turns) -> AsyncIterator[bytes]:
    """What is told while it is computed, and the explanation or the error at the end."""
    started = time.monotonic()
    try:
        while not (await asyncio.wait({running}, timeout=PROGRESS_S))[0]:
            seconds = time.monotonic() - started
            yield event({"turns": turns.num_taken, "seconds": round(seconds, 1)}, "progress")
        yield event(running.result(), "explanation")
    except Exception as error:
        told = api_error(error)
        if told.status >= 500:
            log_failure(error)
        yield event({**told.body(), "status": told.status}, "error")
    finally:
        running.cancel()


def _explained(served: ServedModel, body: ExplainRequest, turns: Turns) -> dict[str, Any]:
    """The explanation as JSON values.

    Raises:
        ApiError: nothing that was asked for can be said.
    """
    started = time.monotonic()
    model = turn_taking(served.engine.model, turns)
    with torch.inference_mode():
        try:
            question = read_question(served, body, model)
            _require_few(question, body.by or "words")
            claims, problems = _claims(question, body)
            if served.checks is None and any(item.part for claim in claims for item in claim.items):
                served.checks = check_model(model, served.tokenizer)
            rewritten = _rewritten(served, question, body) if body.switch_off else None
        except UserError as error:
            raise api_error(error) from None
        target, against = question.choice(question.target), question.choice(question.against)
    reply_start = len(question.tokenizer.decode(question.reply_ids, keep_special=True, begins=False))
    found = Explanation(
        run=served.name,
        step=served.loaded.run.step,
        prompt=body.prompt if body.prompt is not None else "",
        reply=body.reply,
        start=reply_start,
        stop=reply_start + len(target.text),
        target=target,
        against=against,
        difference=question.difference,
        claims=claims,
        checks=[check.plain() for check in served.checks or ()],
        seconds=time.monotonic() - started,
    )
    return {**found.plain(), "refused": problems, "rewritten": rewritten}


def _claims(question: Question, body: ExplainRequest) -> tuple[list[Claim], list[dict[str, str]]]:
    """The claims of each method, and what those say that cannot serve this model or question.

    Raises:
        UserError: none of them can.
    """
    claims: list[Claim] = []
    problems: list[dict[str, str]] = []
    names = DEFAULT_METHODS if body.methods is None else body.methods
    for name in dict.fromkeys(names):
        kind = KINDS.settings(name)
        if kind.needs_gradients:
            raise refused(
                "methods", f"{name} needs gradients, which a model that is served has not: use gptsmith explain"
            )
        given = {"by": body.by} if body.by is not None and "by" in kind.model_fields else {}
        try:
            claims += kind.parse(given, name).explain(question)
        except UserError as error:
            if len(names) == 1:
                raise
            problems.append({"kind": name, "message": str(error)})
    return claims, problems


def _rewritten(served: ServedModel, question: Question, body: ExplainRequest) -> str:
    """The reply up to the word, and what the model most probably writes from there on without some of its parts.

    Raises:
        UserError: it has no such parts.
    """
    whole = copy.copy(served.loaded)
    whole.model = question.model
    with whole.ablate(*(body.switch_off or ())) as ablated:
        written = generate(
            ablated.model, served.tokenizer, question.ids, max_tokens=body.max_tokens or MAX_REWRITTEN,
            sampling=served.sampling({"temperature": 0.0}),
        )  # fmt: skip
        return question.tokenizer.decode(question.reply_ids, begins=False) + "".join(written)


def _require_few(question: Question, by: str) -> None:
    """
    Raises:
        ApiError: the prompt has more parts than are tried in one request.
    """
    number = len(question.units(by))
    if number > MAX_UNITS:
        raise refused(
            "by", f"the prompt has {number:,} {by}, and at most {MAX_UNITS:,} are tried at once: take sentences"
        )
