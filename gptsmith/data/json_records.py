"""JSON in its several clothes to records: lists, tables by rows or by columns, and what programs wrap around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptsmith.base.errors import DataError

WRAPPERS = ("data", "rows", "records", "examples", "items", "instances", "train")
"""Names under which a file keeps its list of records."""
RECORD = '{"text": "..."}'


def items_of(value: Any) -> list[Any]:
    """What a whole JSON file holds, each to be a record: the items of a list, of a list under a name such as `data`, of
    a table as pandas writes it (`orient` columns, index, list, split or table), or one record."""
    if isinstance(value, list):
        return [value] if _is_conversation(value) else value
    return _of_object(value) if isinstance(value, dict) else [value]


def as_fields(value: Any) -> dict[str, Any]:
    """The fields of a record; a bare string is a record of its own text, a list of turns one of a conversation.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, list) and _is_conversation(value):
        return {"messages": value}
    if not isinstance(value, dict):
        raise DataError(f"not a record; write an object with a text, such as {RECORD}")
    return value


def _of_object(value: dict[str, Any]) -> list[Any]:
    columns, rows = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(rows, list) and all(isinstance(row, list) for row in rows):
        return [dict(zip(map(str, columns), row, strict=False)) for row in rows]
    for name in WRAPPERS:
        items = value.get(name)
        if isinstance(items, list) and items and all(isinstance(item, dict) for item in items):
            # Hugging Face's server puts each row into an object of its own.
            return [item["row"] if isinstance(item.get("row"), dict) else item for item in items]
    values = list(value.values())
    if values and all(isinstance(column, list) and not _is_conversation(column) for column in values):
        if len({len(column) for column in values}) == 1:
            return [dict(zip(value, row, strict=True)) for row in zip(*values, strict=True)]
    elif values and all(isinstance(inner, dict) and inner.keys() == values[0].keys() and inner for inner in values):
        by_column = all(str(key).isdecimal() for key in values[0])
        if by_column:
            return [{name: column[key] for name, column in value.items()} for key in values[0]]
        if len(values) > 1 or all(str(key).isdecimal() for key in value):
            return values
    return [value]


def _is_conversation(items: list[Any]) -> bool:
    """Whether a list is one of turns: each says who speaks."""
    return bool(items) and all(isinstance(item, Mapping) and ("role" in item or "from" in item) for item in items)
