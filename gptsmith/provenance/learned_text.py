"""A text that a model learnt from: indexed, with the file and the place of each of its tokens."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gptsmith.base.files import read_json
from gptsmith.data.cache import MANIFEST, key_of
from gptsmith.data.passages import Found, find_in_line
from gptsmith.data.suffix_array import FORMAT_VERSION, SuffixArray, kept_suffix_array
from gptsmith.generate.recital_guard import BREAK, SEPARATOR
from gptsmith.provenance.files import SourceFiles, State
from gptsmith.provenance.held_out import HeldOutMatches, held_out_matches
from gptsmith.provenance.in_place import InPlace
from gptsmith.text.letters import next_letters
from gptsmith.text.tokenizer import Tokenizer

HELD_OUT_FILE = "held_out.json"
CONTEXT_CHARACTERS = 100
"""Of a passage, on either side."""
LINE = re.compile(r"line (\d+)")
BLOCK_TOKENS = 1 << 16
"""Spelled at once."""
DERIVED = ("bytes", "letters")
"""The spellings in which a text is indexed for the recital guard."""


@dataclass(frozen=True)
class Source:
    """A passage that a model learnt from.

    Attributes:
        run: the run that learnt from it: the model itself, or a base of it.
        file: the file, by the path that the run names.
        where: the record of the file, such as `line 7`, or that it is a canary; None if the file is text.
        sha256: of the file, when it was learnt from.
        state: whether the file is `unchanged` since, `changed` or `missing`.
        start, stop: the bytes of the passage in the file as it is now, decompressed if it is packed; None if it does
            not stand there as plain text.
        line: the line that it begins in, from 1; None as above.
        before, passage, after: the passage with its context in the document.
        document: the number of the document in the text.
        place: the number of its first token in the text.
    """

    run: str
    file: str
    where: str | None
    sha256: str | None
    state: State
    start: int | None
    stop: int | None
    line: int | None
    before: str
    passage: str
    after: str
    document: int
    place: int

    def plain(self) -> dict[str, Any]:
        """It as JSON values."""
        return asdict(self)


class SourcedText(ABC):
    """Documents in tokens, with their files.

    Attributes:
        run: the folder of the run that learnt from them.
        kind: `text` or `examples`.
        array: the tokens, with a separator behind each document.
        ends: (D,), the place behind the separator of each document.
    """

    kind: str

    def __init__(
        self, run: Path, array: SuffixArray, ends: np.ndarray, tokenizer: Tokenizer, files: SourceFiles
    ) -> None:
        self.run, self.array, self.ends, self.tokenizer, self.files = run, array, ends, tokenizer, files

    @abstractmethod
    def source(self, place: int, num_tokens: int) -> Source:
        """The passage of so many tokens at a place, which is inside of a document."""

    def is_planted(self, place: int, num_tokens: int) -> bool:
        """Whether so many tokens at a place touch a canary, which is nobody's text."""
        return False

    def document_at(self, place: int) -> int:
        """The number of the document that a token belongs to."""
        return int(np.searchsorted(self.ends, place, side="right"))

    def bounds(self, document: int) -> tuple[int, int]:
        """The place of a document's first token, and that of its separator."""
        return int(self.ends[document - 1]) if document else 0, int(self.ends[document]) - 1

    def tokens_of(self, document: int) -> np.ndarray:
        """The tokens of a document, without the separator."""
        start, stop = self.bounds(document)
        return self.array.tokens[start:stop]

    def figures(self) -> dict[str, Any]:
        """Its size, as JSON values."""
        return {
            "run": str(self.run),
            "kind": self.kind,
            "num_tokens": len(self.array) - len(self.ends),
            "num_documents": len(self.ends),
        }


class LearnedText(SourcedText):
    """A text that a model learnt from.

    Attributes:
        index: the folder of the suffix array.
    """

    def __init__(
        self, run: Path, array: SuffixArray, ends: np.ndarray, tokenizer: Tokenizer, files: SourceFiles, index: Path
    ) -> None:
        super().__init__(run, array, ends, tokenizer, files)
        self.index = index

    @abstractmethod
    def held_out_tokens(self) -> np.ndarray:
        """The text that was held out, with the separator between its documents; empty if there is none."""

    @abstractmethod
    def text_of(self, document: int) -> bytes:
        """The text of a document, in UTF-8."""

    @abstractmethod
    def sha256_of(self, document: int) -> str | None:
        """The name of a document by which it can be left out; None if it has none."""

    @abstractmethod
    def held_out_documents(self) -> Iterator[tuple[str | None, bytes]]:
        """The name and the text of each document of the same sources that was held out."""

    def in_place(self, documents: Sequence[int]) -> dict[int, InPlace]:
        """Of some documents those that were not read by themselves: where they stand in what a model read at once.

        Raises:
            UserError: what that was is gone.
        """
        return {}

    @cached_property
    def held_out(self) -> HeldOutMatches | None:
        """How long the matches of its validation text are; None if there is none."""
        return held_out_matches(self.array, self.held_out_tokens(), self.index / HELD_OUT_FILE)

    @cached_property
    def byte_array(self) -> SuffixArray:
        """Its bytes, with `SEPARATOR` behind each document: indexed now if they are not yet.

        Raises:
            UserError: there is too little memory, or no room on the disk.
        """
        return self._array_of("bytes", self._bytes)

    @cached_property
    def letter_array(self) -> SuffixArray:
        """The same of its letters and digits alone (see `gptsmith.text.letters`)."""
        return self._array_of("letters", self._letters)

    def _array_of(self, name: str, content: Callable[[], np.ndarray]) -> SuffixArray:
        made_from = read_json(self.index / MANIFEST)["made_from"]
        target = self.index.with_name(derived_index(self.index.name, name))
        return kept_suffix_array(target, lambda _: content(), SEPARATOR, made_from)

    def _letters(self) -> np.ndarray:
        parts = self._bytes().tobytes().split(BREAK)
        return np.frombuffer(bytearray(BREAK).join(next_letters(b"", part)[0] for part in parts), np.uint8)

    def _bytes(self) -> np.ndarray:
        spelled = [data or BREAK for data in self.tokenizer.token_bytes]
        if self.array.separator == len(spelled):
            spelled.append(BREAK)
        found = bytearray()
        for start in range(0, len(self.array), BLOCK_TOKENS):
            found += b"".join([spelled[token] for token in self.array.tokens[start : start + BLOCK_TOKENS].tolist()])
        return np.frombuffer(found, np.uint8)


def derived_index(index: str, name: str) -> str:
    """The name in the cache of the suffix array of a text in one of the spellings DERIVED, by that of its tokens'."""
    return key_of(FORMAT_VERSION, name, index)


def source_of(
    text: SourcedText,
    *,
    file: str,
    where: str | None,
    state: State,
    found: Found | None,
    parts: tuple[str, str, str],
    place: int,
) -> Source:
    """A source, from what is known of its file and of the passage with its context."""
    before, passage, after = parts
    return Source(
        run=str(text.run), file=file, where=where, sha256=text.files.recorded.get(file), state=state,
        start=None if found is None else found.start, stop=None if found is None else found.stop,
        line=None if found is None else found.line,
        before=before[-CONTEXT_CHARACTERS:], passage=passage, after=after[:CONTEXT_CHARACTERS],
        document=text.document_at(place), place=place,
    )  # fmt: skip


def source_in_record(text: SourcedText, record: str, parts: tuple[str, str, str], place: int) -> Source:
    """A source in a record of a file, such as `answers.jsonl, line 7`."""
    file, _, where = record.rpartition(", ")
    located, state = text.files.state(file)
    line = LINE.fullmatch(where)
    found = None if located is None or line is None else find_in_line(located, parts[1], int(line[1]))
    return source_of(text, file=file, where=where, state=state, found=found, parts=parts, place=place)


def in_whole_characters(before: bytes, passage: bytes, after: bytes) -> tuple[str, str, str]:
    """A passage between its context, as texts. Tokens may begin or end inside of a character, which then belongs to
    what is around."""
    while passage and passage[0] & 0xC0 == 0x80:  # a byte 10xxxxxx is inside a character
        before, passage = before + passage[:1], passage[1:]
    text = passage.decode("utf-8", "ignore")
    after = passage[len(text.encode()) :] + after
    return before.decode("utf-8", "ignore"), text, after.decode("utf-8", "ignore")
