"""Placeholders in the place of findings, as texts are read: `<EMAIL>`. The files themselves stay as they are."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError
from gptsmith.data.care.finders import KINDS, FinderSettings, Span
from gptsmith.data.care.findings import Finding, findings, redacted
from gptsmith.data.care.left_out import json_lines
from gptsmith.data.records import BETWEEN_TEXTS

BLOCK_CHARACTERS, AROUND_CHARACTERS = 1 << 21, 1 << 16
"""A long document is redacted in such blocks, with so much of what stands around each."""
PASSAGE = "passage"
HOW_TO_LIST = f'write {{"kind": "{PASSAGE}", "text": "..."}} per line'


class PassageSettings(FinderSettings):
    """Texts that a person lists, letter by letter."""

    kind: Literal["passage"] = "passage"
    noun: ClassVar[str] = "listed passages"
    texts: tuple[str, ...] = ()

    def find(self, text: str) -> Iterator[Span]:
        end = 0
        for start, stop in sorted(self._occurrences(text), key=lambda span: (span[0], -span[1])):
            if start >= end:
                yield start, stop
                end = stop

    def find_across(self, texts: Sequence[str]) -> Iterator[Mapping[int, Span]]:
        for passage in self.texts:
            for number, text in enumerate(texts):
                others = [*range(number + 1, len(texts)), *range(number)]
                for head, rest in _cuts(passage):
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
        """The redaction of some kinds of findings, and of the passages in some lists, as an audit writes them.

        Raises:
            DataError: a list cannot be read, or has no passage in it.
        """
        passages = dict.fromkeys(passage for path in lists for passage in _passages_in(Path(path)))
        listed = [PassageSettings(texts=tuple(passages))] if passages else []
        return cls([*map(KINDS.validate, kinds), *listed])

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
        for finder in self.finders:
            while spans := next(iter(finder.find_across(texts)), None):
                self.counts[finder.kind] += 1
                for number, (start, stop) in spans.items():
                    texts[number] = texts[number][:start] + finder.placeholder + texts[number][stop:]
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
    nouns = {PASSAGE: PassageSettings.noun}
    return ", ".join(f"{nouns.get(kind) or KINDS.settings(kind).noun} {number:,}" for kind, number in counts.items())


def _passages_in(path: Path) -> Iterator[str]:
    """The texts of the lines of the kind `passage`, none so long that the end of a block could hide it."""
    found = False
    for place, value in json_lines(path, HOW_TO_LIST):
        if value.get("kind") != PASSAGE:
            continue
        text = value.get("text")
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{place}: a line of the kind {PASSAGE} needs the text to replace, as `text`")
        if len(text) > AROUND_CHARACTERS:
            raise DataError(
                f"{place}: a passage of {len(text):,} characters, and at most {AROUND_CHARACTERS:,} are looked for at "
                "once: list it in parts, or leave its document out by --without"
            )
        found = True
        yield text
    if not found:
        raise DataError(f"{path} has no line of the kind {PASSAGE}: {HOW_TO_LIST}")
