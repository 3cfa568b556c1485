"""POST /v1/embeddings: a vector for each text, the mean of the last layer's states over its tokens."""

from __future__ import annotations

import base64
import struct
from typing import Any

from starlette.responses import Response

from gptsmith.serve.embedding import embed_texts
from gptsmith.serve.errors import unsupported
from gptsmith.serve.json_slices import json_bytes
from gptsmith.serve.openai.schemas.embeddings import EmbeddingRequest
from gptsmith.serve.state import State


async def embeddings(state: State, body: EmbeddingRequest, log_fields: dict[str, Any]) -> Response:
    """The vectors of some texts.

    Raises:
        ApiError: they cannot be given.
    """
    served = await state.models.get(body.model)
    if body.dimensions not in (None, served.loaded.config.embed_dim):
        raise unsupported("dimensions", f"this model's vectors have {served.loaded.config.embed_dim} numbers")
    given = body.input
    inputs: list[Any] = [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)
    vectors, num_tokens = await embed_texts(state, served, inputs, normalize=body.normalize is not False)
    rows = []
    for number, vector in enumerate(vectors):
        packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        content = packed if body.encoding_format == "base64" else vector
        rows.append({"object": "embedding", "index": number, "embedding": content})
    log_fields |= {"model": served.name, "prompt_tokens": num_tokens}
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    answer = {"object": "list", "data": rows, "model": served.name, "usage": usage, "pooling": "mean of the last layer"}
    data = await state.models.workers.run_on_reader(lambda: json_bytes(answer))
    return Response(data, media_type="application/json")
