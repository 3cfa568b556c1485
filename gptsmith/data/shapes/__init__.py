"""The shapes of examples: each file makes examples of the records that have certain fields.

Contract: `matches(fields)` says whether a record has the shape, by the names of its fields, which are in lower case and
without padding (fields in other columns are left alone); `example(fields, place)` makes an example of it, and raises a
`UserError` that says why one cannot be made. An objective names the shapes that it learns from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings

TEXT = "text"
"""The name of what has no shape: plain text, in records or not."""


@dataclass(frozen=True)
class Example(ABC):
    """An example, with the place where a person finds it, such as `answers.jsonl, line 7`. Its fields are JSON values,
    lists of them as tuples, so that it can be kept on disk."""

    place: str

    @abstractmethod
    def question(self) -> str:
        """The question as one text: examples with the same question stay together when examples are split."""

    @abstractmethod
    def question_texts(self) -> Iterator[str]:
        """Each text of the question by itself, as a person wrote it."""

    @abstractmethod
    def every_text(self) -> Iterator[str]:
        """Each text of it by itself, such as a turn, as a person wrote it."""


class ExampleShape(Settings):
    """A shape of examples."""

    kind: str
    record_fields: ClassVar[str]
    """The fields of its records, for a person."""
    priority: ClassVar[int] = 0
    """Of several shapes that a record matches, it has the one of the highest priority."""
    is_conversation: ClassVar[bool] = True
    """Whether its examples are conversations, so that a model which learns from them needs a chat template."""

    @abstractmethod
    def matches(self, fields: Mapping[str, Any]) -> bool:
        """Whether a record has this shape, by the names of its fields."""

    @abstractmethod
    def example(self, fields: Mapping[str, Any], place: str) -> Example:
        """The example that a record holds.

        Raises:
            UserError: there is nothing to learn from it.
            KeyError, TypeError, AttributeError, StopIteration: the record is not of this shape.
        """


KINDS = Kinds(__name__, ExampleShape)
