"""POST /v1/classify: the label of each text, with the probabilities of all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from starlette.responses import JSONResponse

from gptsmith.serve.chat.ids import new_id
from gptsmith.serve.errors import refused
from gptsmith.serve.openai.schemas.classify import ClassifyRequest
from gptsmith.serve.state import State
from gptsmith.train.samples import Sample

TOKENS_AT_ONCE = 1024
"""Of a batch, padding included, so that a long list does not delay generation."""


async def classify(state: State, body: ClassifyRequest, log_fields: dict[str, Any]) -> JSONResponse:
    """The labels of some texts.

    Raises:
        ApiError: they cannot be given.
    """
    served, classifier = await state.models.classifier(body.model)
    texts = [body.input] if isinstance(body.input, str) else body.input
    if len(texts) > state.settings.max_inputs:
        raise refused("input", f"{len(texts)} texts are more than the {state.settings.max_inputs} allowed at once")
    found: list[list[float]] = []
    with served.reserved(1):
        samples = await state.models.workers.run_on_reader(lambda: classifier.samples(texts))
        for batch in _batches(samples):
            rows = await asyncio.wrap_future(served.engine.call(partial(classifier.probabilities, batch)))
            found += rows
    num_tokens = sum(sample.num_tokens for sample in samples)
    log_fields |= {"model": served.name, "prompt_tokens": num_tokens}
    return JSONResponse(
        {
            "id": new_id("classify-"),
            "object": "list",
            "created": int(time.time()),
            "model": served.name,
            "data": [_row(number, classifier.text_labels, row) for number, row in enumerate(found)],
            "usage": {"prompt_tokens": num_tokens, "completion_tokens": 0, "total_tokens": num_tokens},
        }
    )


def _row(number: int, labels: Sequence[str], probabilities: Sequence[float]) -> dict[str, Any]:
    """The answer for one text: vLLM's fields, and `probabilities` by label."""
    by_label = dict(zip(labels, probabilities, strict=True))
    return {
        "index": number,
        "label": max(by_label, key=by_label.__getitem__),
        "probs": list(probabilities),
        "num_classes": len(labels),
        "probabilities": by_label,
    }


def _batches(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Neighbours of at most `TOKENS_AT_ONCE` together, or single ones."""
    batch: list[Sample] = []
    longest = 0
    for sample in samples:
        longest = max(longest, sample.num_tokens)
        if batch and longest * (len(batch) + 1) > TOKENS_AT_ONCE:
            yield batch
            batch, longest = [], sample.num_tokens
        batch.append(sample)
    if batch:
        yield batch
