"""Sentences for a person that other programs can say in words of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self


class Notice(str):
    """A sentence for a person on a terminal, with what it says as a code and values. It is a piece of advice, or the
    message of an error: `raise DataError(Notice(...))`.

    Attributes:
        code: what it says, the same whatever the words.
        values: the names and figures in it, as JSON values; sizes end in `_bytes`, times in `minutes`.
    """

    code: str
    values: Mapping[str, Any]

    def __new__(cls, text: str, code: str = "", /, **values: Any) -> Self:
        made = super().__new__(cls, text)
        made.code, made.values = code, values
        return made


def notice_of(said: object) -> dict[str, Any] | None:
    """The code and the values of a sentence, or of an error's; None if it has none."""
    text = said.args[0] if isinstance(said, Exception) and said.args else said
    return {"code": text.code, "values": dict(text.values)} if isinstance(text, Notice) else None


def placed(place: str, error: Exception) -> Notice:
    """The message of an error, behind the place that it is about. One without a code is a bad example."""
    inner = notice_of(error) or {"code": "bad_example", "values": {}}
    values = {"place": place, "problem": str(error), **inner["values"]}
    return Notice(f"{place}: {error}", inner["code"], **values)
