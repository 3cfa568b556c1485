"""The schemas of POST /v1/explain and POST /v1/trace."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gptsmith.serve.chat.schemas.chat import ChatMessage
from gptsmith.serve.chat.schemas.common import Count, NonEmptyText, Schema

Place = Annotated[int, Field(ge=0, le=2**31 - 1)]
ShortName = Annotated[str, Field(min_length=1, max_length=100)]


class ContextFields(Schema):
    """What the model had read: a text that it continued, or a conversation."""

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class ExplainRequest(ContextFields):
    """POST /v1/explain: why a model wrote a word of its reply."""

    reply: NonEmptyText
    start: Place | None = None
    """The first character of the word in the reply."""
    token: Place | None = None
    """Instead, the number of its token in the reply."""
    against: NonEmptyText | None = None
    """Another word, for the comparison; by default the most probable one."""
    by: Literal["sentences", "words", "tokens"] | None = None
    methods: Annotated[list[ShortName], Field(max_length=8)] | None = None
    switch_off: Annotated[list[ShortName], Field(min_length=1, max_length=64)] | None = None
    """Parts of the network, by their taps, without which the reply is written again from the word on."""
    max_tokens: Count | None = None
    """The most tokens of that."""
    stream: bool | None = None


class LearnedPassage(Schema):
    """A passage, as a source of /v1/trace names it."""

    run: NonEmptyText
    place: Place
    num_tokens: Count


class TraceRequest(ContextFields):
    """POST /v1/trace: where a text stands in what a model learnt from; or what becomes of a word of a reply once a
    passage is forgotten for one step, on a copy of the model."""

    text: Annotated[str, Field(min_length=1, max_length=20_000)] | None = None
    forget: LearnedPassage | None = None
    reply: NonEmptyText | None = None
    """With forget: all that the model wrote."""
    start: Place | None = None
    """With forget: the first character of the word in it."""
