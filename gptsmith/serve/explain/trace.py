"""POST /v1/trace: where a text stands in what a model learnt from."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.responses import Response

from gptsmith.base.errors import UserError
from gptsmith.explain.influence.forgetting import Target
from gptsmith.explain.influence.influence import Influence, influence_of, passage_around
from gptsmith.serve.errors import ApiError, api_error, refused
from gptsmith.serve.explain.asked import place_in, read_prompt
from gptsmith.serve.explain.schemas import LearnedPassage, TraceRequest
from gptsmith.serve.explain.turns import Turns
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
    if (body.text is None) == (body.forget is None):
        raise refused("text", "give a text, or a passage to forget, and not both")
    for name in ("reply", "start") if body.forget is not None else ():
        if getattr(body, name) is None:
            raise refused(
                name, "forget is about a word of a reply: give all of the reply, and start, where the word begins"
            )
    served = await state.models.writer(body.model)
    log_fields |= {"model": served.name}
    turns = Turns(served.engine, lambda: state.models.is_writing)
    with served.reserved(1):
        try:
            found = await state.models.workers.run_on_explainer(partial(_answer, served, body, turns))
        finally:
            turns.give_up()
    return Response(json_bytes(found), media_type="application/json")


def _answer(served: ServedModel, body: TraceRequest, turns: Turns) -> dict[str, Any]:
    """What was asked for, as JSON values.

    Raises:
        ApiError: there is nothing to look in, or it cannot be forgotten.
    """
    try:
        if body.forget is not None:
            return {"sources": [], "forgotten": _forgotten(served, body, body.forget, turns).plain()}
        passages = served.tracer.trace(body.text or "")
    except UserError as error:
        raise api_error(error) from None
    return {"sources": [passage.plain() for passage in passages], "missing": served.tracer.learned.missing}


def _forgotten(served: ServedModel, body: TraceRequest, passage: LearnedPassage, turns: Turns) -> Influence:
    """What becomes of a word of a reply once a passage is forgotten for one step, beside passages at random.

    Raises:
        ApiError: there is no such passage, or no such word.
        UserError: the weights take no step.
    """
    texts = served.tracer.learned.texts
    text = next((text for text in texts if str(text.run) == passage.run), None)
    if text is None or passage.place + passage.num_tokens > len(text.array):
        raise refused("forget", "the model did not learn from such a passage: name one of the sources")
    ids, number = place_in(served.tokenizer, body.reply or "", body.start)
    _, prompt = read_prompt(served, body)
    aim = Target((*prompt.ids, *ids[:number]), (ids[number],))
    around = passage_around(text, passage.place, passage.num_tokens)
    return influence_of(around, served.tracer, served.engine.model, aim, turn=turns.take)
