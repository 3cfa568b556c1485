"""Regular expressions that come with a model: those whose time could grow without bound are refused by their shape."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gptsmith.base.errors import DataError

MAX_PATTERN = 20_000
MAX_REPEATS = 1000
MAX_UNBOUNDED = 4
"""Repeats without end that may follow each other: the time grows by the length of the text to this power."""
INTERVAL = re.compile(r"\{(\d*)(,?)(\d*)\}")
PREFIX = re.compile(r"\(\?(?:<[=!]|[=!:>]|P?<\w+>|[a-zA-Z-]*[:)]|#[^)]*\))")
ESCAPE = re.compile(r"\\(?:[pPxuo]\{[^}]*\}|.)", re.DOTALL)
BACKREFERENCE = re.compile(r"\\(?:[1-9]|k[<'{]|g[<'{]?)")


@dataclass
class _Part:
    """A piece of a pattern.

    Attributes:
        varies: whether it matches a text in more than one way, or texts of more than one length.
        unbounded: the repeats without end in it that follow each other.
        branch: the same of the alternative that is being read.
        size: about how many steps it is compiled to.
    """

    varies: bool = False
    unbounded: int = 0
    branch: int = 0
    size: int = 1

    def add(self, inner: _Part) -> None:
        self.varies |= inner.varies
        self.branch += inner.unbounded
        self.size += inner.size

    def end_branch(self) -> None:
        self.unbounded, self.branch = max(self.unbounded, self.branch), 0


def require_bounded(pattern: str) -> None:
    """Accepts a pattern whose time is bounded by a low power of the text's length.

    Raises:
        DataError: it repeats what repeats, repeats alternatives, refers back, or is too long.
    """
    problem = _problem(pattern)
    if problem:
        shown = pattern if len(pattern) <= 60 else pattern[:57] + "..."
        raise DataError(f"the regular expression {shown!r} {problem}: its time could be without bound")


def _problem(pattern: str) -> str | None:
    if len(pattern) > MAX_PATTERN:
        return f"is longer than {MAX_PATTERN:,} characters"
    stack, place = [_Part()], 0
    while place < len(pattern):
        if BACKREFERENCE.match(pattern, place) or pattern.startswith(("(?P=", "(?R", "(?&", "(?("), place):
            return "refers to its own groups"
        letter, part = pattern[place], _Part()
        if letter == "(":
            prefix = PREFIX.match(pattern, place)
            place = prefix.end() if prefix else place + 1
            if not (prefix and prefix[0].endswith(")")):
                stack.append(part)
            continue
        if letter == "|":
            stack[-1].end_branch()
            stack[-1].varies = True
            place += 1
            continue
        if letter == ")" and len(stack) > 1:
            part = stack.pop()
            part.end_branch()
            place += 1
        elif letter == "\\":
            escape = ESCAPE.match(pattern, place)
            place = escape.end() if escape else place + 1
        elif letter == "[":
            place = _class_end(pattern, place)
        else:
            place += 1
        place, problem = _repeated(pattern, place, part)
        stack[-1].add(part)
        problem = problem or _too_much(stack[-1])
        if problem:
            return problem
    return None


def _repeated(pattern: str, place: int, part: _Part) -> tuple[int, str | None]:
    """The end of the quantifiers behind a part, which it then carries; and what is wrong with them."""
    while place < len(pattern) and pattern[place] in "*+?{":
        interval = INTERVAL.match(pattern, place) if pattern[place] == "{" else None
        if pattern[place] == "{" and (interval is None or not any(interval.groups())):
            break
        low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(pattern[place], (0, 0))
        if interval:
            low = int(interval[1] or 0)
            high = (int(interval[3]) if interval[3] else None) if interval[2] else low
        place = interval.end() if interval else place + 1
        if high is None:
            if part.varies or part.unbounded:
                return place, "repeats what varies"
            part.unbounded, part.varies = 1, True
        else:
            part.unbounded *= max(high, 1)
            part.varies |= low != high
        part.size *= max(low, high or 0, 1)
        if place < len(pattern) and pattern[place] in "?+" and not interval:
            place += 1  # lazy or possessive
        elif interval and pattern[place : place + 1] == "?":
            place += 1
    return place, None


def _too_much(part: _Part) -> str | None:
    if max(part.branch, part.unbounded) > MAX_UNBOUNDED:
        return f"has more than {MAX_UNBOUNDED} repeats without end in a row"
    return f"repeats more than {MAX_REPEATS:,} times" if part.size > MAX_PATTERN + MAX_REPEATS else None


def _class_end(pattern: str, place: int) -> int:
    """The place behind a class of characters, in which others may stand."""
    depth, start = 0, place
    while place < len(pattern):
        letter = pattern[place]
        if letter == "\\":
            place += 1
        elif letter == "[":
            depth += 1
            start = place
            if pattern[place + 1 : place + 2] == "^":
                place, start = place + 1, place + 1
        elif letter == "]" and place > start + 1:
            depth -= 1
            if depth == 0:
                return place + 1
        place += 1
    return place
