"""POST /api/embed: a vector of length 1 for each text; and its older form, /api/embeddings."""

from __future__ import annotations

import time
from typing import Any

from starlette.responses import JSONResponse, Response

from gptsmith.serve.embedding import embed_texts
from gptsmith.serve.errors import unsupported
from gptsmith.serve.json_slices import json_bytes
from gptsmith.serve.ollama.keep_alive import keep_alive_s
from gptsmith.serve.ollama.models import known_name
from gptsmith.serve.ollama.schemas import OllamaEmbeddingsRequest, OllamaEmbedRequest
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
    took = {"total_duration": time.monotonic_ns() - started, "load_duration": 0}
    answer = {"model": body.model, "embeddings": vectors, **took, "prompt_eval_count": num_tokens}
    data = await state.models.workers.run_on_reader(lambda: json_bytes(answer))
    return Response(data, media_type="application/json")


async def embeddings(state: State, body: OllamaEmbeddingsRequest, log_fields: dict[str, Any]) -> Response:
    """The vector of one text, as it is; none for an empty text, which only loads the model.

    Raises:
        ApiError: it cannot be given.
    """
    served = await state.models.get(known_name(state, body.model), keep_alive_s(body.keep_alive))
    inputs: list[str | list[int]] = [body.prompt] if body.prompt else []
    vectors, num_tokens = await embed_texts(state, served, inputs, normalize=False, truncates=True, param="prompt")
    log_fields |= {"model": served.name, "prompt_tokens": num_tokens}
    return JSONResponse({"embedding": vectors[0] if vectors else []})
