"""POST /v1/explain: why a model wrote a word, as claims with their tests."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from starlette.responses import Response

from gptsmith.base.errors import UserError
from gptsmith.base.hints import shell_command
from gptsmith.explain.answer import Answer
from gptsmith.explain.check import check_model
from gptsmith.explain.explaining import explained, methods_of, num_tested
from gptsmith.explain.methods import DEFAULT_METHODS, MethodSettings
from gptsmith.explain.own_text import own_text
from gptsmith.explain.question import Question
from gptsmith.generate.api import generate
from gptsmith.model.gpt import GPT
from gptsmith.serve.errors import api_error, refused
from gptsmith.serve.explain.asked import place_in, read_prompt
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
MAX_PROMPT_TOKENS = 8192
"""Of a prompt whose parts are tried."""


async def explain(state: State, body: ExplainRequest, log_fields: dict[str, Any]) -> Response:
    """Why a model wrote a word of its reply, computed in turns between the steps of the texts that are being written.

    Raises:
        ApiError: it cannot be explained; a stream says so itself.
    """
    served = await state.models.writer(body.model)
    log_fields |= {"model": served.name}
    turns = Turns(served.engine, lambda: state.models.is_writing)
    progress = Progress()
    work = partial(_explained, served, body, turns, progress)
    with ExitStack() as stack:
        stack.enter_context(served.reserved(1))
        if body.stream:
            running = asyncio.ensure_future(state.models.workers.run_on_explainer(work))
            release = stack.pop_all()
            release.callback(turns.give_up)
            return EventStream(_events(running, progress), release.close)
        stack.callback(turns.give_up)
        return Response(json_bytes(await state.models.workers.run_on_explainer(work)), media_type="application/json")


async def _events(running: asyncio.Future[dict[str, Any]], progress: Progress) -> AsyncIterator[bytes]:
    """How far it has come while it is computed, and the explanation or the error at the end."""
    try:
        while not (await asyncio.wait({running}, timeout=PROGRESS_S))[0]:
            yield event({"done": progress.num_read, "total": progress.num_asked}, "progress")
        yield event(running.result(), "explanation")
    except Exception as error:
        told = api_error(error)
        if told.status >= 500:
            log_failure(error)
        yield event({**told.body(), "status": told.status}, "error")
    finally:
        running.cancel()


@dataclass
class Progress:
    """How many changed contexts have been read, of those that are asked for so far."""

    num_read: int = 0
    num_asked: int = 0

    def observe(self, num_read: int, num_asked: int) -> None:
        self.num_read, self.num_asked = num_read, num_asked


def _explained(served: ServedModel, body: ExplainRequest, turns: Turns, progress: Progress) -> dict[str, Any]:
    """The explanation as JSON values.

    Raises:
        ApiError: nothing that was asked for can be said.
    """
    try:
        with torch.inference_mode():
            return _claims(served, body, turn_taking(served.engine.model, turns), progress)
    except UserError as error:
        raise api_error(error) from None


def _claims(served: ServedModel, body: ExplainRequest, model: GPT, progress: Progress) -> dict[str, Any]:
    """The explanation by `model`, as JSON values.

    Raises:
        ApiError: there is no such word, or too much to try.
        UserError: the model or the word cannot be explained so.
    """
    shown, prompt = read_prompt(served, body)
    ids, number = place_in(served.tokenizer, body.reply, body.start, body.token)
    if len(prompt.passages) and len(prompt.ids) > MAX_PROMPT_TOKENS:
        raise refused("prompt", f"{len(prompt.ids):,} tokens are more than the {MAX_PROMPT_TOKENS:,} that are tried")
    methods = _methods(body)
    if served.own_text is None:
        served.own_text = own_text(model, served.tokenizer)
    answer = Answer(model, served.tokenizer, prompt, ids, served.own_text, progress.observe)
    question = answer.question(number, body.against, num_claims=num_tested(methods))
    found = explained(
        question, methods, run=served.name, step=served.loaded.run.step, prompt=shown, reply=body.reply,
        span=answer.spans[number], is_lenient=len(methods) > 1,
    )  # fmt: skip
    if served.checks is None and any(item.part for claim in found.claims for item in claim.items):
        served.checks = check_model(model, served.tokenizer)
    checks = [check.plain() for check in served.checks or ()]
    rewritten = _rewritten(served, question, body) if body.switch_off else None
    return {**found.plain(), "checks": checks, "rewritten": rewritten}


def _methods(body: ExplainRequest) -> list[MethodSettings]:
    """The methods of a request.

    Raises:
        ApiError: one of them is not for a model that is served.
        ConfigurationError: there is no such method.
    """
    methods = methods_of(DEFAULT_METHODS if body.methods is None else tuple(dict.fromkeys(body.methods)), body.by)
    for method in methods:
        if method.needs_gradients:
            command = shell_command("explain", "RUN")
            raise refused("methods", f"{method.kind} needs gradients, which a served model has not: use {command}")
    return methods


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
            sampling=served.sampling({"temperature": 0.0}), recital_guard=served.engine.recital_guard,
        )  # fmt: skip
        return question.tokenizer.decode(question.reply_ids, begins=False) + "".join(written)
