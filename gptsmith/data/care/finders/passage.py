"""Texts of their own that a person lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

from gptsmith.base.spans import without_overlaps
from gptsmith.data.care.finders import FinderSettings, Span
from gptsmith.data.records import BETWEEN_TEXTS


class PassageSettings(FinderSettings):
    """Texts that a person lists, letter by letter."""

    kind: Literal["passage"] = "passage"
    noun: ClassVar[str] = "listed passages"
    is_listed: ClassVar[bool] = True
    texts: tuple[str, ...] = ()

    def find(self, text: str) -> Iterator[Span]:
        found = sorted(self._occurrences(text), key=lambda span: (span[0], -span[1]))
        yield from without_overlaps(found, lambda span: span)

    def find_across(self, texts: Sequence[str]) -> Iterator[Mapping[int, Span]]:
        for passage in self.texts:
            for head, rest in _cuts(passage):
                for number, text in enumerate(texts):
                    others = [*range(number + 1, len(texts)), *range(number)]
                    if text.endswith(head) and (spans := _continued(texts, others, rest)) is not None:
                        yield {number: (len(text) - len(head), len(text)), **spans}

    def _occurrences(self, text: str) -> Iterator[Span]:
        for passage in self.texts:
            start = text.find(passage)
            while start >= 0:
                yield start, start + len(passage)
                start = text.find(passage, start + 1)


def _cuts(passage: str) -> Iterator[tuple[str, str]]:
    """A passage before and behind each of its blank lines."""
    at = passage.find(BETWEEN_TEXTS)
    while at >= 0:
        if at and (rest := passage[at + len(BETWEEN_TEXTS) :]):
            yield passage[:at], rest
        at = passage.find(BETWEEN_TEXTS, at + 1)


def _continued(texts: Sequence[str], numbers: Sequence[int], rest: str) -> dict[int, Span] | None:
    """Where a passage goes on in some of the texts of these numbers, in their order: the rest of it begins one of them,
    or is all of one and goes on in another. None if it does not."""
    for place, number in enumerate(numbers):
        text = texts[number]
        if text.startswith(rest):
            return {number: (0, len(rest))}
        if text and rest.startswith(text + BETWEEN_TEXTS):
            spans = _continued(texts, numbers[place + 1 :], rest[len(text + BETWEEN_TEXTS) :])
            if spans is not None:
                return {number: (0, len(text)), **spans}
    return None
