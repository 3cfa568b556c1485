"""The API as an OpenAPI document, made from the classes that check what is sent."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from gptsmith.serve.bodies import (
    Body,
    ChatBody,
    CompletionBody,
    DetokenizeBody,
    EmbeddingBody,
    ResponseBody,
    TokenizeBody,
)
from gptsmith.version import __version__

REFERENCE = "#/components/schemas/{model}"
POSTS: dict[str, tuple[type[Body], str, str]] = {
    "/v1/completions": (CompletionBody, "A text that goes on from a prompt.", "text_completion"),
    "/v1/chat/completions": (ChatBody, "The answer to a conversation.", "chat.completion"),
    "/v1/responses": (ResponseBody, "The answer to a conversation, in the newer form; nothing is kept.", "response"),
    "/v1/embeddings": (EmbeddingBody, "The mean of the last layer's states over the tokens of each text.", "list"),
    "/tokenize": (TokenizeBody, "The ids of a text or of a conversation.", ""),
    "/detokenize": (DetokenizeBody, "The text of ids.", ""),
}
STREAMED = ("/v1/completions", "/v1/chat/completions", "/v1/responses")
ERRORS = {
    "400": "A field is wrong; it is named.",
    "401": "A key is needed.",
    "403": "The server is not called by this name, or this page may not ask.",
    "404": "There is no such model.",
    "408": "The request did not arrive in time.",
    "413": "The body is too long.",
    "429": "Too many ask: try again after Retry-After seconds.",
    "500": "The server failed.",
    "503": "The server is shutting down.",
}
EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string"}, "event": {"type": "string"}},
}
"""Each of a stream."""
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
MODEL = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by", "gptsmith"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
        "gptsmith": {
            "type": "object",
            "required": [
                "kind", "context_length", "num_parameters", "vocab_size", "trained_on", "made", "prompts", "sampling",
                "max_choices", "max_tokens", "end_tokens",
            ],
            "properties": {
                "kind": {"enum": ["chat", "base"]},
                "context_length": {"type": "integer"},
                "num_parameters": {"type": "integer"},
                "vocab_size": {"type": "integer"},
                "trained_on": {"type": "string"},
                "made": {"type": ["string", "null"]},
                "prompts": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
                "sampling": {"type": "object"},
                "max_choices": {"type": "integer"},
                "max_tokens": {"type": ["integer", "null"]},
                "end_tokens": {"type": "array", "items": {"type": "string"}},
            },
        },
    },
}  # fmt: skip


def document(has_keys: bool, model_names: list[str]) -> dict[str, Any]:
    """The document; its examples name the models that there are."""
    _, schemas = models_json_schema(
        [(kind, "validation") for kind, _, _ in POSTS.values()], ref_template=REFERENCE, by_alias=True
    )
    components: dict[str, Any] = {**schemas["$defs"], "Error": ERROR, "Model": MODEL}
    for kind, _, _ in POSTS.values():
        model = components[kind.__name__]["properties"]["model"]
        (model["anyOf"][0] if "anyOf" in model else model)["enum"] = model_names
    paths: dict[str, Any] = {
        "/v1/models": {"get": _get("The models that can be asked.", {"type": "object", "required": ["data"]})},
        "/v1/models/{name}": {
            "get": {
                **_get("One of them.", {"$ref": "#/components/schemas/Model"}),
                "parameters": [
                    {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                ],
            }
        },
        "/health": {"get": {**_get("Whether requests are taken.", {"type": "object"}), "security": []}},
    }
    for path, (kind, summary, label) in POSTS.items():
        answer: dict[str, Any] = {"type": "object"}
        if label:
            answer |= {"required": ["object"], "properties": {"object": {"const": label}}}
        content: dict[str, Any] = {"application/json": {"schema": answer}}
        if path in STREAMED:
            content["text/event-stream"] = {"schema": EVENT}
        body = {"schema": {"$ref": REFERENCE.format(model=kind.__name__)}}
        paths[path] = {
            "post": {
                "summary": summary,
                "requestBody": {"required": True, "content": {"application/json": body}},
                "responses": {"200": {"description": "The answer.", "content": content}, **_errors()},
            }
        }
    security = {"key": {"type": "http", "scheme": "bearer"}} if has_keys else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "gptsmith", "version": __version__},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": security},
        "security": [{"key": []}] if has_keys else [],
    }


def _get(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    answer = {"description": "The answer.", "content": {"application/json": {"schema": schema}}}
    return {"summary": summary, "responses": {"200": answer, **_errors()}}


def _errors() -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": description, "content": content} for status, description in ERRORS.items()}
