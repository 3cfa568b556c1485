"""The problems that pydantic finds in values, in this program's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WORDS = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_parsing_size": "must be an integer with fewer digits",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "literal_error": "must be {expected}",
    "dict_type": "must be a table",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "is_instance_of": "must be of the type {class}",
    "missing": "is missing",
    "none_required": "must be left out",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} elements, and has {actual_length}",
    "too_long": "must have at most {max_length} elements, and has {actual_length}",
}
"""By pydantic's name of a problem; it says other ones in its own words."""


def problem_in_words(problem: Mapping[str, Any]) -> str:
    """The problem of a value, one of those of a `ValidationError`, such as `must be at least 4.5`."""
    words = WORDS.get(problem["type"])
    if words is None:
        return str(problem["msg"]).removeprefix("Value error, ")
    numbers = {key: f"{value:g}" for key, value in problem.get("ctx", {}).items() if isinstance(value, float)}
    return words.format_map({**problem.get("ctx", {}), **numbers})
