"""Constraints of the engine, from response formats and schemas."""

from __future__ import annotations

import json
from typing import Any

from gptsmith.generate.request import Constraint
from gptsmith.serve.chat.generation_schema import generation_schema
from gptsmith.serve.chat.schemas.common import Grammar
from gptsmith.serve.errors import refused


def response_format_constraint(response_format: Any) -> Constraint | None:
    """The constraint of a response format; None if it allows any text.

    Raises:
        ApiError: the schema is missing or not JSON.
    """
    if response_format is None or response_format.type == "text":
        return None
    if response_format.type == "json_object":
        return Constraint("json_object")
    if response_format.type == "json_schema":
        schema = response_format.json_schema.schema_
        if schema is None:
            raise refused("response_format.json_schema.schema", "it is missing")
        schema = generation_schema(schema, is_strict=bool(response_format.json_schema.strict))
        return json_schema_constraint(schema, "response_format")
    return Constraint(response_format.type, getattr(response_format, response_format.type))


def json_schema_constraint(schema: dict[str, Any], param: str) -> Constraint:
    """The constraint of a JSON schema.

    Raises:
        ApiError: the schema is not JSON; `param` names its field.
    """
    try:
        return Constraint("json_schema", json.dumps(schema, allow_nan=False))
    except ValueError:
        raise refused(param, "a schema has a number that is not finite") from None


def grammar_constraint(grammar: Grammar) -> Constraint:
    """The constraint of a grammar."""
    return Constraint("grammar" if grammar.syntax == "lark" else "regex", grammar.definition)
