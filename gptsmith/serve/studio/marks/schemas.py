"""Requests about marks."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gptsmith.base.errors import DataError
from gptsmith.serve.chat.schemas.common import Schema
from gptsmith.serve.studio.marks.examples import CONTINUATION
from gptsmith.text.chat_template import checked_messages

VERDICTS = {
    "thumb": ("up", "down"),
    "edit": ("edited",),
    "choice": ("first", "second", "equal", "neither"),
    CONTINUATION: ("first", "second"),
}
"""The verdicts of each kind of mark."""
NUM_ANSWERS = {"thumb": 1, "edit": 1, "choice": 2, CONTINUATION: 2}
MAX_KNOWN = 2000

Kind = Literal["thumb", "edit", "choice", "continuation"]
MarkId = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,80}$")]
Milliseconds = Annotated[int, Field(ge=0, le=2**53)]


class Turn(Schema):
    """A turn before an answer, or the text before a continuation."""

    role: Literal["system", "user", "assistant", "text"]
    content: str


class Passage(Schema):
    """A passage of a document that was in the prompt of an answer."""

    file: Annotated[str, Field(max_length=10_000)]
    headings: list[str] = Field(default_factory=list)
    text: str


class Answer(Schema):
    """An answer that was judged."""

    model: Annotated[str, Field(min_length=1, max_length=1000)]
    text: str
    sampling: dict[str, Any] = Field(default_factory=dict)
    """The settings that it was sampled with, as far as they were not the model's own."""
    made: Annotated[str, Field(max_length=40)] | None = None
    """When the weights that wrote it were saved, as the list of models says."""
    sources: Annotated[list[Passage], Field(max_length=100)] = Field(default_factory=list)
    """What it was given of documents."""


class MarkRequest(Schema):
    """A mark, or another verdict in its place: the one of the latest `at_ms` counts, in whichever order they come."""

    id: MarkId
    kind: Kind
    verdict: str
    at_ms: Milliseconds
    prompt: Annotated[list[Turn], Field(min_length=1, max_length=5000)]
    answers: list[Answer]
    edited: str | None = None
    """The text that is better than the answer."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.verdict not in VERDICTS[self.kind]:
            raise ValueError(f"the verdict of a mark of the kind {self.kind} is {' or '.join(VERDICTS[self.kind])}")
        if len(self.answers) != NUM_ANSWERS[self.kind]:
            raise ValueError(f"a mark of the kind {self.kind} has {NUM_ANSWERS[self.kind]} answers")
        if (self.kind == "edit") != (self.edited is not None):
            raise ValueError("edited is for marks of the kind edit, and they need it")
        if self.edited is not None and not self.edited.strip():
            raise ValueError("edited is empty: there is nothing to learn from it")
        if any(answer.sources for answer in self.answers) and self.prompt[-1].role != "user":
            raise ValueError("sources belong to a question, and the prompt does not end in one")
        if self.kind == CONTINUATION:
            if [turn.role for turn in self.prompt] != ["text"]:
                raise ValueError(f"the prompt of a mark of the kind {CONTINUATION} is one text")
            return self
        try:
            checked_messages([turn.model_dump() for turn in self.prompt])
        except DataError as error:
            raise ValueError(f"prompt: {error}") from None
        return self


class KnownRequest(Schema):
    """The ids of marks that a page wants to know about."""

    ids: Annotated[list[MarkId], Field(max_length=MAX_KNOWN)]
