"""The kinds of what should not go into a model: data of persons, and secrets.

Contract: `find(text)` yields the first character of each finding and the one after its last, in order and without
overlaps. A finder knows its kind by form and, where there are check digits, by these: it reads the text alone, and
names nothing that it is not sure of to that degree.

A pattern is fast that begins with a set of few characters: what must not stand before a finding is asked behind its
first character.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings

Span = tuple[int, int]


class FinderSettings(Settings):
    """Settings of every finder."""

    kind: str
    noun: ClassVar[str]
    """Its findings, for a person: `e-mail addresses`."""
    is_secret: ClassVar[bool] = False
    """Whether it gives access to something, so that it must be changed where others have read it."""

    is_listed: ClassVar[bool] = False
    """Whether it finds what a person lists, and nothing by itself."""

    @property
    def placeholder(self) -> str:
        """The text that stands in the place of a finding."""
        return f"<{self.kind.upper()}>"

    @abstractmethod
    def find(self, text: str) -> Iterator[Span]:
        """Where the findings stand in a text."""

    def find_across(self, texts: Sequence[str]) -> Iterator[Mapping[int, Span]]:
        """Where the findings stand that begin in one text of a record and go on in others, by the numbers of the texts;
        most finders have none."""
        yield from ()


KINDS = Kinds(__name__, FinderSettings)


def kinds_by_form() -> list[str]:
    """The names of the kinds that find something without a list."""
    return [name for name in KINDS.names() if not KINDS.settings(name).is_listed]
