"""A verb takes the fields of its request class."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import UserError
from gptsmith.base.settings import Settings
from gptsmith.base.verbs import Count, PathText, PathTexts, not_recorded, verb


class Request(Settings):
    sources: PathTexts = ()
    """Files."""
    out: PathText | None = None
    """The folder."""
    tokens: Count | None = None
    """Tokens."""
    started: float | None = not_recorded()
    """The start."""


@verb(Request, "sources")
def work(request: Request) -> dict[str, Any]:
    """Work.

    Returns:
        the request.
    """
    return request.plain()


def test_arguments_are_the_fields_by_position_and_by_name() -> None:
    expected = {"sources": ["a"], "out": "b", "tokens": 5_000_000}
    assert work([Path("a")], out=Path("b"), tokens="5M", started=1.0) == expected
    assert work(Request(sources=["a"], out="b", tokens=5_000_000)) == expected
    assert list(inspect.signature(work).parameters) == list(Request.model_fields)
    assert "    Args:\n        sources: Files.\n" in (work.__doc__ or "")


@pytest.mark.parametrize(
    ("arguments", "named", "words"),
    [
        ((["a"],), {"tokns": 1}, r"no argument tokns \(did you mean tokens\?\)"),
        ((["a"],), {"sources": ["b"]}, "sources twice"),
        ((["a"], "b"), {}, "at most 1 positional"),
    ],
)
def test_a_wrong_call_is_a_type_error(arguments: tuple[Any, ...], named: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        work(*arguments, **named)


def test_a_wrong_value_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"^work: tokens: must be greater than 0 \(given: -1\)"):
        work(["a"], tokens=-1)
    with pytest.raises(UserError, match="'many' is not a count"):
        work(["a"], tokens="many")
