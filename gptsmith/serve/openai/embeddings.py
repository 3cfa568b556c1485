"""POST /v1/embeddings: a vector for each text, the mean of the last layer's states over its tokens."""

from __future__ import annotations

import asyncio
import base64
import math
import struct
from typing import Any

from starlette.responses import Response

from gptsmith.base.errors import UserError
from gptsmith.serve.errors import api_error, refused, unsupported
from gptsmith.serve.json_slices import json_bytes
from gptsmith.serve.openai.schemas.embeddings import EmbeddingRequest
from gptsmith.serve.state import State
from gptsmith.text.tokenizer import TooManyTokensError


async def embeddings(state: State, body: EmbeddingRequest, log_fields: dict[str, Any]) -> Response:
    """The vectors of some texts.

    Raises:
        ApiError: they cannot be given.
    """
    served = state.models.get(body.model)
    if body.dimensions not in (None, served.loaded.config.embed_dim):
        raise unsupported("dimensions", f"this model's vectors have {served.loaded.config.embed_dim} numbers")
    given = body.input
    inputs: list[Any] = [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)
    if len(inputs) > state.settings.max_inputs:
        raise refused("input", f"{len(inputs)} texts are more than the {state.settings.max_inputs} allowed at once")
    rows, num_tokens, longest = [], 0, served.context_length
    with served.reserved(1):
        try:
            with served.engine.kv_memory.explained():
                prompts = await state.models.run_on_reader(
                    lambda: [
                        served.tokenizer.prompt_ids(one, longest) if isinstance(one, str) else one for one in inputs
                    ]
                )
        except TooManyTokensError as error:
            raise api_error(error, "input") from None
        for number, ids in enumerate(prompts):
            if max(ids) >= served.vocab_size:
                raise refused("input", f"this model's tokens are numbers below {served.vocab_size}")
            try:
                # One after the other, so that a long list does not delay generation.
                vector = await asyncio.wrap_future(served.engine.embed(ids))
            except UserError as error:
                raise api_error(error, "input") from None
            num_tokens += len(ids)
            if body.normalize is not False:
                length = math.hypot(*vector)
                vector = [value / length for value in vector] if length else vector
            packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            content = packed if body.encoding_format == "base64" else vector
            rows.append({"object": "embedding", "index": number, "embedding": content})
    log_fields |= {"model": served.name, "prompt_tokens": num_tokens}
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    answer = {"object": "list", "data": rows, "model": served.name, "usage": usage, "pooling": "mean of the last layer"}
    data = await state.models.run_on_reader(lambda: json_bytes(answer))
    return Response(data, media_type="application/json")
