"""Errors for people.

GptsmithError
├── UserError         something that was asked for cannot be done: one line that says what to do, exit code 2
└── MissingExtraError an optional library is needed: the line names the extra to install
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from gptsmith.base.renamed import RENAMED


class GptsmithError(Exception):
    """The base of every error that this package raises on purpose."""


class UserError(GptsmithError, ValueError):
    """What was given, what is wrong with it, what is allowed and what to do, in one line."""


class MissingExtraError(UserError):
    """A library that only some users need is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional library: pip install 'gptsmith[{extra}]'")


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """`did you mean X?` for the nearest allowed word, or the list of what is allowed. A name of an older version is
    nearest to the one that took its place."""
    allowed = sorted(allowed)
    nearest = [RENAMED[given]] if RENAMED.get(given) in allowed else get_close_matches(given, allowed, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"allowed: {', '.join(allowed)}"
