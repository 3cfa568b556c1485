"""Data of persons and secrets in texts: findings of all finders together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gptsmith.base.spans import without_overlaps
from gptsmith.data.care.finders import KINDS, FinderSettings, kinds_by_form

SHOWN_CHARACTERS = 4
"""Of a secret."""


@dataclass(frozen=True)
class Finding:
    """A piece of text that should perhaps not go into a model.

    Attributes:
        kind: the finder's.
        start: its first character in the text that was searched; of a document, its first byte.
        stop: the one after its last.
        text: itself.
        is_secret: whether it gives access to something.
        placeholder: what may stand in its place.
    """

    kind: str
    start: int
    stop: int
    text: str
    is_secret: bool
    placeholder: str


def all_finders() -> list[FinderSettings]:
    """Every finder that needs no list, with its defaults."""
    return [KINDS.validate(name) for name in kinds_by_form()]


def findings(text: str, finders: Sequence[FinderSettings]) -> list[Finding]:
    """The findings of some finders in a text, in order and without overlaps: of two that overlap, secrets and longer
    ones stay."""
    every = [
        Finding(finder.kind, start, stop, text[start:stop], finder.is_secret, finder.placeholder)
        for finder in finders
        for start, stop in finder.find(text)
    ]
    preferred = sorted(every, key=lambda one: (not one.is_secret, one.start - one.stop, one.start))
    return without_overlaps(preferred, lambda one: (one.start, one.stop))


def hidden(secret: str) -> str:
    """The beginning of a secret, by which a person knows it: at most a third of it."""
    return f"{secret[: min(SHOWN_CHARACTERS, len(secret) // 3)]}…"


def redacted(text: str, found: Iterable[Finding]) -> str:
    """A text with a placeholder in the place of each finding."""
    parts, end = [], 0
    for one in found:
        parts += [text[end : one.start], one.placeholder]
        end = one.stop
    return "".join([*parts, text[end:]])
