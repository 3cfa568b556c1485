"""JSON schemas as they are generated: objects closed, arguments always an object, and keywords that cannot be enforced
passed over unless the schema is strict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptsmith.serve.errors import refused

LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
MAPPINGS = ("properties", "patternProperties", "$defs", "definitions")
BEYOND_PROPERTIES = {
    "additionalProperties", "patternProperties", "propertyNames", "$ref", "anyOf", "oneOf", "allOf", "not", "if",
    "dependentSchemas",
}  # fmt: skip
"""Beside one of these, `properties` do not name all that an object may have."""
VALUES = ("string", "number", "integer", "boolean", "null", "array")


def generation_schema(schema: Mapping[str, Any], *, is_strict: bool) -> dict[str, Any]:
    """A schema for what is generated: an object has no properties but those that are named, unless
    `additionalProperties` says otherwise, because small models do not stop inventing them."""
    closed = dict(schema) if _is_combined(schema) else _closed(schema)
    return {**closed, "x-guidance": {"lenient": not is_strict}}


def arguments_schema(schema: Mapping[str, Any], name: str, *, is_strict: bool) -> dict[str, Any]:
    """The schema of a tool's arguments, which are always an object.

    Raises:
        ApiError: they are something else; `name` is the tool's.
    """
    kind = schema.get("type", "object")
    kinds = kind if isinstance(kind, list) else [kind]
    if "object" not in kinds and all(one in VALUES for one in kinds):
        raise refused("tools", f"the arguments of {name} are of type {kind}: describe an object, with properties")
    kind = "object" if "object" in kinds else kind
    return generation_schema({**schema, "type": kind}, is_strict=is_strict)


def _is_combined(schema: Any) -> bool:
    """Whether a schema puts objects together from several parts, none of which names all properties."""
    if isinstance(schema, list):
        return any(map(_is_combined, schema))
    if not isinstance(schema, dict):
        return False
    parts = schema.get("allOf")
    return (isinstance(parts, list) and len(parts) > 1) or any(map(_is_combined, schema.values()))


def _closed(schema: Any) -> Any:
    """A schema whose objects have the properties that are named, and no others."""
    if not isinstance(schema, Mapping):
        return schema
    closed = dict(schema)
    for name, value in schema.items():
        if name in MAPPINGS and isinstance(value, dict):
            closed[name] = {key: _closed(one) for key, one in value.items()}
        elif name in LISTS and isinstance(value, list):
            closed[name] = [_closed(one) for one in value]
        elif name in ("items", "additionalProperties"):
            closed[name] = _closed(value)
    if "properties" in schema and not BEYOND_PROPERTIES & schema.keys():
        closed["additionalProperties"] = False
    return closed
