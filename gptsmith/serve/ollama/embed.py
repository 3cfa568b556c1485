"""POST /api/embed: a vector of length 1 for each text."""

from __future__ import annotations

import time
from typing import Any

from starlette.responses import Response

from gptsmith.serve.errors import unsupported
from gptsmith.serve.json_slices import json_bytes
from gptsmith.serve.ollama.keep_alive import keep_alive_s
from gptsmith.serve.ollama.models import known_name
from gptsmith.serve.ollama.schemas import OllamaEmbedRequest
from gptsmith.serve.openai.embeddings import embed_texts
from gptsmith.serve.state import State


async def embed(state: State, body: OllamaEmbedRequest, log_fields: dict[str, Any]) -> Response:
    """The vectors of some texts.

    Raises:
        ApiError: they cannot be given.
    """
    started = time.monotonic_ns()
    served = await state.models.get(known_name(state, body.model), keep_alive_s(body.keep_alive))
    if body.dimensions not in (None, 0, served.loaded.config.embed_dim):
        raise unsupported("dimensions", f"this model's vectors have {served.loaded.config.embed_dim} numbers")
    given = [body.input] if isinstance(body.input, str) else body.input
    inputs: list[str | list[int]] = [text for text in given if text]
    vectors, num_tokens = await embed_texts(state, served, inputs, truncates=body.truncate is not False)
    log_fields |= {"model": served.name, "prompt_tokens": num_tokens}
    answer = {"model": body.model, "embeddings": vectors, "total_duration": time.monotonic_ns() - started}
    answer |= {"load_duration": 0, "prompt_eval_count": num_tokens}
    data = await state.models.run_on_reader(lambda: json_bytes(answer))
    return Response(data, media_type="application/json")
