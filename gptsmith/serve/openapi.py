"""The OpenAPI document, made from the table of routes and the schemas that check requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from gptsmith.serve.route import Route
from gptsmith.version import __version__

REFERENCE = "#/components/schemas/{model}"
ERRORS = {
    "400": "A field is invalid; the message names it.",
    "401": "An API key is required.",
    "403": "The host name or the origin is not allowed.",
    "404": "There is no such model.",
    "408": "The request did not arrive in time.",
    "413": "The body is too long.",
    "429": "Too many requests: try again after Retry-After seconds.",
    "500": "Internal error.",
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


def document(routes: Sequence[Route], has_keys: bool, model_kinds: Mapping[str, str]) -> dict[str, Any]:
    """The OpenAPI document of some routes. `model_kinds` are the models by name: a field `model` takes those of a kind
    that can answer there; where there are none, its values are left out."""
    documented = [route for route in routes if route.response_schema is not None]
    kinds = [route.request_schema for route in documented if route.request_schema is not None]
    _, schemas = models_json_schema([(kind, "validation") for kind in kinds], ref_template=REFERENCE, by_alias=True)
    components: dict[str, Any] = {**schemas["$defs"], "Error": ERROR}
    for route in documented:
        names = [name for name, kind in model_kinds.items() if kind in route.models]
        if route.request_schema is not None and names:
            model = components[route.request_schema.__name__]["properties"]["model"]
            (model["anyOf"][0] if "anyOf" in model else model)["enum"] = names
    paths: dict[str, dict[str, Any]] = {}
    for route in documented:
        paths.setdefault(route.label, {})[route.method.lower()] = _operation(route)
    security = {"key": {"type": "http", "scheme": "bearer"}} if has_keys else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "gptsmith", "version": __version__},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": security},
        "security": [{"key": []}] if has_keys else [],
    }


def _operation(route: Route) -> dict[str, Any]:
    """The operation of one route."""
    content: dict[str, Any] = {"application/json": {"schema": route.response_schema}}
    if route.streams:
        content[route.stream_type] = {
            "schema": EVENT if route.stream_type == "text/event-stream" else route.response_schema
        }
    error = {"application/json": {"schema": route.error_schema or {"$ref": REFERENCE.format(model="Error")}}}
    errors = {status: {"description": description, "content": error} for status, description in ERRORS.items()}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "responses": {"200": {"description": "The answer.", "content": content}, **errors},
    }
    if route.request_schema is not None:
        body = {"schema": {"$ref": REFERENCE.format(model=route.request_schema.__name__)}}
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    if name := route.parameter:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        ]
    if not route.needs_key:
        operation["security"] = []
    return operation
