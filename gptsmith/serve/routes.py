"""The one table of routes, which the app, the middleware and the OpenAPI document read."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptsmith.base.json_text import json_text
from gptsmith.serve.anthropic.errors import ERROR, error_body
from gptsmith.serve.anthropic.messages import count_tokens, messages
from gptsmith.serve.anthropic.schemas import CountTokensRequest, MessagesRequest
from gptsmith.serve.documents import DOCUMENTS_SCHEMA, PASSAGE_SCHEMA, describe_documents, get_passage
from gptsmith.serve.explain.explain import explain
from gptsmith.serve.explain.schemas import ExplainRequest, TraceRequest
from gptsmith.serve.explain.trace import trace
from gptsmith.serve.ollama.routes import OLLAMA_ROUTES
from gptsmith.serve.openai.chat import chat_completions
from gptsmith.serve.openai.classify import classify
from gptsmith.serve.openai.completions import completions
from gptsmith.serve.openai.embeddings import embeddings
from gptsmith.serve.openai.input_items import list_input_items
from gptsmith.serve.openai.models import MODEL_SCHEMA, get_model, list_models
from gptsmith.serve.openai.responses import delete_response, get_response, responses
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.serve.openai.schemas.classify import ClassifyRequest
from gptsmith.serve.openai.schemas.completions import CompletionRequest
from gptsmith.serve.openai.schemas.embeddings import EmbeddingRequest
from gptsmith.serve.openai.schemas.responses import ResponsesRequest
from gptsmith.serve.openai.schemas.tokenize import DetokenizeRequest, TokenizeRequest
from gptsmith.serve.openai.tokenize import detokenize, tokenize
from gptsmith.serve.openapi import document
from gptsmith.serve.route import WRITERS, Route
from gptsmith.serve.state import State
from gptsmith.serve.static import INDEX

ANY_OBJECT = {"type": "object"}


def object_schema(kind: str) -> dict[str, Any]:
    """JSON schema of an answer whose `object` is `kind`."""
    return {"type": "object", "required": ["object"], "properties": {"object": {"const": kind}}}


async def page_index(state: State, _: Request) -> Response:
    """The chat page."""
    return state.page.file(INDEX)


async def page_file(state: State, request: Request) -> Response:
    """Another file of the chat page."""
    return state.page.file(request.path_params["name"])


async def health(state: State, _: Request) -> Response:
    """Whether the server lives: also while it shuts down, when nobody should restart it."""
    return JSONResponse({"status": "draining" if state.is_draining else "ok"})


async def ready(state: State, _: Request) -> Response:
    """Whether the server takes requests; a balancer sends them elsewhere while it does not."""
    status = "draining" if state.is_draining else "full" if state.models.are_full else "ready"
    return JSONResponse({"status": status}, 200 if status == "ready" else 503)


async def metrics(state: State, request: Request) -> Response:
    """Metrics in Prometheus' form."""
    data, content_type = state.metrics.text(request.headers.get("accept", ""))
    return Response(data, headers={"Content-Type": content_type})


async def openapi(state: State, request: Request) -> Response:
    """The OpenAPI document of this table; the names of the models are for those with a key."""
    is_known = state.keys is None or state.keys.accepts(request.headers.get("authorization", ""))
    kinds = {name: entry.about.kind for name, entry in state.models.entries.items()} if is_known else {}
    return Response(_document(state.keys is not None, tuple(kinds.items())), media_type="application/json")


@lru_cache(maxsize=8)
def _document(has_keys: bool, model_kinds: tuple[tuple[str, str], ...]) -> bytes:
    """The document, made once: it takes long."""
    return json_text(document(ROUTES, has_keys, dict(model_kinds))).encode()


ROUTES = (
    Route("/", "GET", page_index, needs_key=False),
    Route("/page/{name:path}", "GET", page_file, needs_key=False),
    Route(
        "/health", "GET", health, "Whether the server lives.",
        response_schema=ANY_OBJECT, needs_key=False, drains=False,
    ),
    Route(
        "/ready", "GET", ready, "Whether requests are taken.",
        response_schema=ANY_OBJECT, needs_key=False, drains=False,
    ),
    Route("/metrics", "GET", metrics, drains=False),
    Route("/openapi.json", "GET", openapi, needs_key=False),
    Route(
        "/v1/models", "GET", list_models, "The models that are served.",
        response_schema={"type": "object", "required": ["data"]},
    ),
    Route("/v1/models/{name:path}", "GET", get_model, "One of the models.", response_schema=MODEL_SCHEMA),
    Route(
        "/v1/completions", "POST", completions, "Continuations of prompts.",
        CompletionRequest, object_schema("text_completion"), streams=True, models=WRITERS,
    ),
    Route(
        "/v1/chat/completions", "POST", chat_completions, "The answer to a conversation.",
        ChatCompletionRequest, object_schema("chat.completion"), streams=True, models=("chat",),
    ),
    Route(
        "/v1/responses", "POST", responses, "The answer to a conversation, in the newer form.",
        ResponsesRequest, object_schema("response"), streams=True, models=("chat",),
    ),
    Route(
        "/v1/responses/{name}/input_items", "GET", list_input_items, "The items before a response that is stored.",
        response_schema=object_schema("list"),
    ),
    Route(
        "/v1/responses/{name}", "GET", get_response, "A response that is stored.",
        response_schema=object_schema("response"),
    ),
    Route(
        "/v1/responses/{name}", "DELETE", delete_response, "Forgets a response that is stored.",
        response_schema=object_schema("response"),
    ),
    Route(
        "/v1/messages", "POST", messages, "The answer to a conversation, in Anthropic's form.",
        MessagesRequest, {"type": "object", "required": ["type", "content"]}, streams=True, models=("chat",),
        error_body=error_body, error_schema=ERROR,
    ),
    Route(
        "/v1/messages/count_tokens", "POST", count_tokens, "The tokens of a conversation, counted.",
        CountTokensRequest, {"type": "object", "required": ["input_tokens"]}, models=("chat",),
        error_body=error_body, error_schema=ERROR,
    ),
    Route(
        "/v1/embeddings", "POST", embeddings, "The mean of the last layer's states over the tokens of each text.",
        EmbeddingRequest, object_schema("list"),
    ),
    Route(
        "/v1/classify", "POST", classify, "The label of each text, with the probabilities of all.",
        ClassifyRequest, object_schema("list"), models=("classifier",),
    ),
    Route(
        "/v1/explain", "POST", explain, "Why a model wrote a word, as claims with their tests.",
        ExplainRequest, {"type": "object", "required": ["target", "claims"]}, streams=True, models=WRITERS,
    ),
    Route(
        "/v1/trace", "POST", trace, "Where a text stands in what a model learnt from.",
        TraceRequest, {"type": "object", "required": ["sources"]}, models=WRITERS,
    ),
    Route(
        "/v1/documents", "GET", describe_documents, "The documents in which questions are looked up.",
        response_schema=DOCUMENTS_SCHEMA,
    ),
    Route(
        "/v1/documents/{name}", "GET", get_passage, "A passage of a document, with what is around it.",
        response_schema=PASSAGE_SCHEMA,
    ),
    Route(
        "/tokenize", "POST", tokenize, "The token ids of a text or of a conversation.", TokenizeRequest, ANY_OBJECT
    ),
    Route("/detokenize", "POST", detokenize, "The text of token ids.", DetokenizeRequest, ANY_OBJECT),
    *OLLAMA_ROUTES,
)  # fmt: skip
