"""Changes to documents before they are searched or asked about: some are left out, others are read otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

from gptsmith.data.care.cleaning import Cleaning
from gptsmith.data.care.redaction import RedactedDocument, Redaction
from gptsmith.data.readers import Chunk


@dataclass(frozen=True)
class Mending:
    """What is read in the place of each document.

    Attributes:
        key: the same for the same changes; empty if nothing is changed.
        mended: the text in the place of one; None if it is left out.
    """

    key: str = ""
    mended: Callable[[str], str | None] = str

    @classmethod
    def of(cls, cleaning: Cleaning) -> Mending:
        """Documents that a list names are left out, and findings are replaced."""
        left_out, redaction = cleaning.left_out, cleaning.redaction

        def mended(text: str) -> str | None:
            name = sha256(text.encode("utf-8", "replace")).hexdigest()
            return None if name in left_out else redacted(text, redaction)

        return cls(repr(cleaning.key()), mended) if left_out.lists or redaction else cls()

    def of_chunks(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Documents in chunks, each changed as a whole, which is then in memory; as they come if nothing is changed."""
        if not self.key:
            yield from chunks
            return
        held: list[Chunk] = []
        for chunk in chunks:
            held.append(chunk)
            if not chunk.last:
                continue
            before = "".join(each.text for each in held)
            text = self.mended(before)
            if text == before:
                yield from held
            elif text is not None:
                yield replace(chunk, text=text, start=held[0].start)
            held = []


def redacted(text: str, redaction: Redaction) -> str:
    """A document with placeholders in the place of findings."""
    return RedactedDocument(redaction).add(text, last=True) if redaction else text
