"""A text that a model learnt from, and the one that was held out beside it, as the model is to read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gptsmith.base.errors import MissingExtraError, UserError, one_line
from gptsmith.privacy.readings import Documents, Reading, Taught, Windows
from gptsmith.provenance.example_text import ExampleText
from gptsmith.provenance.learned_text import LearnedText, SourcedText


@dataclass(frozen=True)
class ReadText:
    """A text as it was learnt: plain text in documents, examples as replies, each after its question.

    Attributes:
        text: the text whose tokens are read.
        own, held_out: how it is read, and what was held out.
        note: why examples are read as plain text instead; None if they are not.
    """

    text: SourcedText
    own: Reading
    held_out: Reading
    note: str | None = None

    @classmethod
    def of(cls, text: LearnedText, windows: Windows) -> ReadText:
        """A text as it was learnt.

        Raises:
            MissingExtraError: the library that sorts is not installed.
        """
        note = None
        if isinstance(text, ExampleText):
            try:
                replies = text.replies()
            except MissingExtraError:
                raise
            except UserError as error:
                note = (
                    f"examples are read as plain text, each turn by itself, without their questions: {one_line(error)}"
                )
            else:
                separator = replies.array.separator
                return cls(replies, Taught(replies.sequences, separator), Taught(replies.held_out, separator))
        held_out = text.held_out_tokens()
        ends = np.flatnonzero(held_out == text.array.separator) + 1
        own = Documents(text.array.tokens, text.ends, windows)
        return cls(text, own, Documents(held_out, ends, windows), note)

    @property
    def num_tokens(self) -> int:
        """Of both, with separators."""
        return len(self.own.tokens) + len(self.held_out.tokens)
