"""A conversation whose question is looked up in documents: what was found, and the turn with it that fits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from gptsmith.retrieval.documents import Source
from gptsmith.retrieval.quotation import quoted_turn, shortened
from gptsmith.retrieval.terms import question_terms

NOTHING_FOUND = "Your documents hold nothing on this."
NO_ROOM = "Your documents hold something on this, but the model's context has no room for it."
FEW_TERMS = 2
"""A question with fewer words of its own is looked up with the one before it."""

M = TypeVar("M", bound=Mapping[str, Any])


class Searchable(Protocol):
    """Documents in which questions are looked up."""

    def search(self, question: str) -> list[Source]:
        """The passages that answer a question best; none if none does."""


@dataclass(frozen=True)
class Grounding:
    """What documents hold on a question.

    Attributes:
        sources: the passages that the model is shown, as it is shown them.
        note: a line for the person, where it is shown none; else empty.
    """

    sources: tuple[Source, ...]
    note: str = ""

    def fields(self) -> dict[str, Any]:
        """It as JSON values."""
        sources = [{"number": number, **source.fields()} for number, source in enumerate(self.sources, 1)]
        return {"found": bool(sources), "note": self.note or None, "sources": sources}


def ground(
    documents: Searchable,
    messages: Sequence[M],
    count: Callable[[Sequence[M]], int],
    limit: int,
    *,
    gives_way: bool,
    markers: Collection[str] = (),
) -> tuple[list[M], Grounding | None]:
    """A conversation with passages in its last question, and what was found; as it is, and None, where its last message
    is not a person's.

    Args:
        count: the tokens of a conversation.
        limit: the most tokens that the prompt may have.
        gives_way: whether older turns may be left out for the passages.
        markers: the words that begin turns.
    """
    messages = list(messages)
    if not messages or messages[-1]["role"] != "user":
        return messages, None
    found = documents.search(_searched(messages))
    if not found:
        return messages, Grounding((), NOTHING_FOUND)
    *before, last = messages
    kept = [message for message in before[:1] if message["role"] == "system"] if gives_way else before
    most = limit
    if len(kept) < len(before):  # half of what is left is the conversation's
        most -= (limit - count([*kept, last])) // 2

    def turn(sources: Sequence[Source]) -> M:
        return {**last, "content": quoted_turn(sources, last["content"], markers)}  # type: ignore[return-value]

    def fits(sources: Sequence[Source]) -> bool:
        return count([*kept, turn(sources)]) <= most

    sources = _fitting(found, fits)
    if not sources:
        return messages, Grounding((), NO_ROOM)
    return [*before, turn(sources)], Grounding(tuple(sources))


def _searched(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text that is looked up: the last question, with the one before it if it has hardly a word of its own."""
    questions = [str(message["content"]) for message in messages if message["role"] == "user"]
    return "\n".join(questions[-2:] if len(question_terms(questions[-1])) < FEW_TERMS else questions[-1:])


def _fitting(found: Sequence[Source], fits: Callable[[Sequence[Source]], bool]) -> list[Source]:
    """The best sources that fit together; the first that does not fit whole is shortened, and is the last."""
    sources: list[Source] = []
    for source in found:
        if fits([*sources, source]):
            sources.append(source)
            continue
        text = shortened(source, lambda text: fits([*sources, replace(source, text=text)]))  # noqa: B023
        return [*sources, replace(source, text=text)] if text else sources
    return sources
