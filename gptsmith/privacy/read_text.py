"""A text that a model learnt from, and the one that was held out beside it, as the model is to read them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from gptsmith.base.errors import MissingExtraError, UserError, one_line
from gptsmith.privacy.answers import AnswerRule
from gptsmith.privacy.readings import Documents, Reading, Taught, Windows
from gptsmith.privacy.token_scores import base_model
from gptsmith.provenance.example_text import ExampleText
from gptsmith.provenance.learned_text import LearnedText, SourcedText


@dataclass(frozen=True)
class ReadText:
    """A text as it was learnt: plain text in documents, examples as replies, each after its question.

    Attributes:
        text: the text whose tokens are read.
        own, held_out: how it is read, and what was held out.
        answers: which short answers count as learnt by heart; None if the text has none.
        note: why examples are read as plain text instead; None if they are not.
    """

    text: SourcedText
    own: Reading
    held_out: Reading
    answers: AnswerRule | None = None
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
                own, held_out = Taught(replies.sequences, separator), Taught(replies.held_out, separator)
                base = partial(base_model, text.opened, text.tokenizer)
                return cls(replies, own, held_out, AnswerRule(own, held_out, replies.array, base))
        tokens = text.held_out_tokens()
        ends = np.flatnonzero(tokens == text.array.separator) + 1
        documents = Documents(text.array.tokens, text.ends, windows)
        return cls(text, documents, Documents(tokens, ends, windows), note=note)

    @property
    def num_tokens(self) -> int:
        """Of both, with separators."""
        return len(self.own.tokens) + len(self.held_out.tokens)
