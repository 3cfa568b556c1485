"""Placeholders in the place of findings, as texts are read: `<EMAIL>`. The files themselves stay as they are."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from gptsmith.data.care.finders import KINDS, FinderSettings, Span
from gptsmith.data.care.findings import Finding, findings, redacted
from gptsmith.data.care.lists import listed_finders

BLOCK_CHARACTERS, AROUND_CHARACTERS = 1 << 21, 1 << 16
"""A long document is redacted in such blocks, with so much of what stands around each."""


class Redaction:
    """Placeholders in the place of everything that some finders find.

    What is redacted has none of their findings in it, and redacting it again changes nothing: a replacement can lay
    another finding bare, so that the text is searched until nothing is left. A placeholder is never taken apart: a
    finding that has a part of one in it takes in all of it, and one inside of a placeholder is none.

    Attributes:
        counts: what was replaced, by kind.
        placeholders: what matches any of its own.
    """

    def __init__(self, finders: Sequence[FinderSettings] = ()) -> None:
        self.finders = finders
        self.counts: Counter[str] = Counter()
        self.placeholders = re.compile(
            "|".join(sorted({re.escape(finder.placeholder) for finder in finders})) or r"\Z."
        )

    @classmethod
    def of(cls, kinds: Iterable[str], lists: Iterable[str | Path]) -> Redaction:
        """The redaction of some kinds of findings, and of the passages and names in some lists that an audit may write.

        Raises:
            DataError: a list cannot be read, or has no passage and no name in it.
        """
        return cls([*map(KINDS.validate, kinds), *listed_finders(lists, AROUND_CHARACTERS)])

    def __bool__(self) -> bool:
        return bool(self.finders)

    def key(self) -> list[Any]:
        """The choices that decide the texts that come of it, as JSON values; empty if it changes nothing."""
        return [finder.plain() for finder in self.finders]

    def redact(self, text: str, begin: int = 0, held: int = 0) -> tuple[str, Counter[str]]:
        """A text with its placeholders, and what was replaced, by kind.

        Args:
            begin: what stands before is redacted already, and stays as it is.
            held: so many characters at the end are only there to be looked at: no finding that begins in them is
                replaced.
        """
        counts: Counter[str] = Counter()
        while found := self._found(text, begin, len(text) - held):
            counts.update(one.kind for one in found)
            text = redacted(text, found)
        return text, counts

    def record(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a record with placeholders in all of their texts and names, and in two texts for a finding that
        goes on from one in another."""
        texts = list(_texts(fields))
        replaced: dict[int, dict[Span, str]] = {number: {} for number in range(len(texts))}
        for finder in self.finders:
            for spans in finder.find_across(texts):
                if all(_are_apart(span, replaced[number]) for number, span in spans.items()):
                    self.counts[finder.kind] += 1
                    for number, span in spans.items():
                        replaced[number][span] = finder.placeholder
        for number, placeholders in replaced.items():
            for (start, stop), placeholder in sorted(placeholders.items(), reverse=True):
                texts[number] = texts[number][:start] + placeholder + texts[number][stop:]
        redacted_fields: dict[str, Any] = self.values(_with_texts(fields, iter(texts)))
        return redacted_fields

    def values(self, value: Any) -> Any:
        """A JSON value with placeholders in all of its texts and names. Names that become the same are numbered."""
        if isinstance(value, str):
            text, counts = self.redact(value)
            self.counts += counts
            return text
        if isinstance(value, Mapping):
            named: dict[str, Any] = {}
            for name, inner in value.items():
                redacted_name = self.values(name)
                numbered = (f"{redacted_name} {number}" for number in count(2))
                free = next(each for each in chain([redacted_name], numbered) if each not in named)
                named[free] = self.values(inner)
            return named
        return list(map(self.values, value)) if isinstance(value, list | tuple) else value

    def _found(self, text: str, begin: int, end: int) -> list[Finding]:
        """The findings to replace, in order, with whole placeholders in them."""
        found = [one for one in findings(text, self.finders) if one.stop > begin and one.start < end]
        if not found:
            return []
        spans = [match.span() for match in self.placeholders.finditer(text, begin)]
        stops = [stop for _, stop in spans]
        widened: list[Finding] = []
        for one in found:
            start, stop = max(one.start, begin), one.stop
            first = bisect_right(stops, start)
            touched = [span for span in spans[first : first + len(one.text)] if span[0] < stop]
            if touched and touched[0][0] <= start and stop <= touched[0][1]:
                continue
            if touched:
                start, stop = min(start, touched[0][0]), max(stop, touched[-1][1])
            if not widened or start >= widened[-1].stop:
                widened.append(replace(one, start=start, stop=stop))
        return widened


def _are_apart(span: Span, others: Iterable[Span]) -> bool:
    """Whether a span overlaps none of others."""
    return all(span[1] <= start or stop <= span[0] for start, stop in others)


def _texts(value: Any) -> Iterator[str]:
    """The texts in a JSON value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from chain.from_iterable(map(_texts, value.values()))
    elif isinstance(value, list | tuple):
        yield from chain.from_iterable(map(_texts, value))


def _with_texts(value: Any, texts: Iterator[str]) -> Any:
    """A JSON value with other texts in the place of its own, in order."""
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, Mapping):
        return {name: _with_texts(inner, texts) for name, inner in value.items()}
    return [_with_texts(inner, texts) for inner in value] if isinstance(value, list | tuple) else value


class RedactedDocument:
    """A document that is redacted as it is read, chunk by chunk, within bounds of memory.

    Attributes:
        counts: what was replaced so far, by kind.
    """

    def __init__(self, redaction: Redaction) -> None:
        self.counts: Counter[str] = Counter()
        self._redaction, self._read, self._length = redaction, list[str](), 0
        self._before, self._held = "", ""

    def add(self, text: str, *, last: bool) -> str:
        """The next of the redacted text, given the next chunk of the document."""
        if not self._redaction:
            return text
        self._read.append(text)
        self._length += len(text)
        if self._length < BLOCK_CHARACTERS and not last:
            return ""
        begin = len(self._before)
        text = self._before + self._held + "".join(self._read)
        done, counts = self._redaction.redact(text, begin, 0 if last else AROUND_CHARACTERS)
        self.counts += counts
        cut = len(done) if last else self._cut(done, begin)
        self._read, self._length = [], 0
        self._before, self._held = done[max(0, cut - AROUND_CHARACTERS) : cut], done[cut:]
        return done[begin:cut]

    def _cut(self, done: str, begin: int) -> int:
        """Where a redacted block ends: before what is held back, and outside placeholders."""
        cut = max(begin, len(done) - AROUND_CHARACTERS)
        inside = [
            match for match in self._redaction.placeholders.finditer(done, begin) if match.start() < cut < match.end()
        ]
        return inside[0].start() if inside else cut


def in_words(counts: Mapping[str, int]) -> str:
    """The findings that were replaced, for a person: `e-mail addresses 41, API keys 3`."""
    return ", ".join(f"{KINDS.settings(kind).noun} {number:,}" for kind, number in counts.items())
