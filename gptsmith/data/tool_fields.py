"""Fields of records that hold tools, calls of them and thoughts, to the form in which chat templates take them.

Tools and calls may be records, as OpenAI writes them and without the `function` around them, or JSON texts of those, as
tables store them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptsmith.base.errors import DataError
from gptsmith.base.json_reader import parse_json
from gptsmith.data.records import brief, without_lone_surrogates

TOOLS_FIELDS = ("tools", "functions")
"""Fields of a record that hold its tools; the second is OpenAI's older name."""
CALLS_FIELDS = ("tool_calls", "function_call", "tool_call")
"""Fields of a turn that hold its calls: a list, or a single one."""
THOUGHTS_FIELDS = ("reasoning_content", "reasoning", "thinking", "thoughts")
"""Fields of a turn that hold the thoughts before it."""


def tools_of(fields: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The tools that may be called in a conversation.

    Raises:
        DataError: one is no tool, or two have one name.
    """
    found = [tool for name in TOOLS_FIELDS for tool in _listed(fields.get(name), f"{name} of the record")]
    tools = tuple(_tool(value, number) for number, value in enumerate(found, 1))
    names = [tool["function"]["name"] for tool in tools]
    if twice := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise DataError(f"the record has two tools that are called {twice}")
    return tools


def calls_of(value: Mapping[str, Any], number: int) -> list[dict[str, Any]]:
    """The calls in a turn.

    Raises:
        DataError: one is no call of a function.
    """
    of = f"turn {number}"
    return [_call(call, of) for name in CALLS_FIELDS for call in _listed(value.get(name), f"{name} of {of}")]


def call_in_text(text: Any, number: int) -> list[dict[str, Any]]:
    """The calls that are the whole text of a turn, as JSON.

    Raises:
        DataError: it is none.
    """
    return [_call(call, f"turn {number}") for call in _listed(text, f"call of turn {number}")]


def thoughts_in(value: Mapping[str, Any], number: int) -> str | None:
    """The thoughts of a turn; None if it has none.

    Raises:
        DataError: they are no text.
    """
    for name in THOUGHTS_FIELDS:
        thoughts = value.get(name)
        if thoughts in (None, "", [], {}):
            continue
        if not isinstance(thoughts, str):
            raise DataError(f"the {name} of turn {number} is {brief(thoughts)}, not a text")
        return without_lone_surrogates(thoughts)
    return None


def _listed(value: Any, name: str) -> list[Any]:
    """The items of a field: those of a list, or a single one, or those that its JSON text spells out."""
    if value in (None, "", [], {}):
        return []
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except ValueError as error:
            raise DataError(f"the {name} is a text, but not JSON: {error}") from None
    return list(value) if isinstance(value, list | tuple) else [value]


def _tool(value: Any, number: int) -> dict[str, Any]:
    """A tool, as OpenAI describes it."""
    value = parsed(value)
    inner = value.get("function") if isinstance(value, Mapping) and "function" in value else value
    name = inner.get("name") if isinstance(inner, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        raise DataError(
            f'tool {number} is {brief(value)}: write tools as {{"type": "function", "function": {{"name": ..., '
            '"description": ..., "parameters": ...}}'
        )
    return {"type": "function", "function": _without_nulls(inner)}


def _call(value: Any, of: str) -> dict[str, Any]:
    """A call with its arguments as an object."""
    value = parsed(value)
    inner = value.get("function", value) if isinstance(value, Mapping) else None
    name = inner.get("name") if isinstance(inner, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(name, str) or not name.strip():
        raise DataError(f'{of} has a call that is {brief(value)}: write {{"name": ..., "arguments": {{...}}}}')
    arguments = parsed(inner.get("arguments", inner.get("parameters"))) or {}
    if not isinstance(arguments, Mapping):
        raise DataError(f"{of} calls {name} with {brief(arguments)}: arguments are an object")
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": dict(arguments)}}
    return {"id": value["id"], **call} if isinstance(value.get("id"), str) else call


def parsed(value: Any) -> Any:
    """The value of a JSON text; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value) if value.strip() else None
    except ValueError:
        return value


def _without_nulls(value: Any) -> Any:
    """A value without the fields that tables fill in where other rows have some."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return list(map(_without_nulls, value)) if isinstance(value, list | tuple) else value
