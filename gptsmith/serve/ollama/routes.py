"""The routes of Ollama's API."""

from __future__ import annotations

from functools import partial

from gptsmith.serve.ollama.answers import NDJSON
from gptsmith.serve.ollama.embed import embed, embeddings
from gptsmith.serve.ollama.errors import ERROR, error_body, refuse_change
from gptsmith.serve.ollama.generate import chat, generate
from gptsmith.serve.ollama.models import processes, show, tags, version
from gptsmith.serve.ollama.schemas import (
    OllamaChatRequest,
    OllamaEmbeddingsRequest,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
    OllamaShowRequest,
)
from gptsmith.serve.route import WRITERS, Route

_route = partial(Route, error_body=error_body, error_schema=ERROR)
DONE = {"type": "object", "required": ["model", "done"]}
MODELS = {"type": "object", "required": ["models"]}

OLLAMA_ROUTES = (
    _route(
        "/api/chat", "POST", chat, "The answer to a conversation, in Ollama's form.",
        OllamaChatRequest, DONE, streams=True, stream_type=NDJSON, models=("chat",),
    ),
    _route(
        "/api/generate", "POST", generate, "The answer to a prompt, in Ollama's form.",
        OllamaGenerateRequest, DONE, streams=True, stream_type=NDJSON, models=WRITERS,
    ),
    _route(
        "/api/embed", "POST", embed, "Vectors of texts, in Ollama's form.",
        OllamaEmbedRequest, {"type": "object", "required": ["embeddings"]},
    ),
    _route(
        "/api/embeddings", "POST", embeddings, "The vector of a text, in Ollama's older form.",
        OllamaEmbeddingsRequest, {"type": "object", "required": ["embedding"]},
    ),
    _route(
        "/api/show", "POST", show, "One of the models, in Ollama's form.",
        OllamaShowRequest, {"type": "object", "required": ["details"]},
    ),
    _route("/api/tags", "GET", tags, "The models, in Ollama's form.", response_schema=MODELS),
    _route("/api/ps", "GET", processes, "The models that are loaded, in Ollama's form.", response_schema=MODELS),
    _route("/api/version", "GET", version, "The version of gptsmith.", response_schema={"type": "object"}),
    *(_route(f"/api/{name}", "POST", refuse_change) for name in ("pull", "push", "create", "copy")),
    _route("/api/delete", "DELETE", refuse_change),
)  # fmt: skip
