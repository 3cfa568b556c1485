"""Everything that a model learnt of a person: the places in its texts, and how easily it says them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gptsmith.base.spans import without_overlaps
from gptsmith.evaluate.loglikelihood import ContinuationScore, score_continuations
from gptsmith.model.gpt import GPT
from gptsmith.privacy.tries import tries_of
from gptsmith.privacy.wanted import Wanted
from gptsmith.provenance.in_place import InPlace
from gptsmith.provenance.learned_text import LearnedText, Source
from gptsmith.text.tokenizer import Tokenizer

KIND, PLACEHOLDER = "passage", "<REMOVED>"
MAX_CONTEXT_TOKENS, CONTEXT_CHARACTERS = 100, 200
"""Of a place in a document, from which the model is to predict it."""
FEWEST_LETTERS = 3
"""Of a token that is told as part of a word."""
Span = tuple[int, int]


@dataclass(frozen=True)
class Mention:
    """A place where the words stand in what a model learnt from.

    Attributes:
        text: the words, as they are spelled there.
        sha256: of the text of its document, by which it can be left out.
        source: the file, the line and what stands around.
        context: the text before it in its document, at most `CONTEXT_CHARACTERS`.
        before: the tokens before it, from which the model is to predict it: all of its conversation, as it was tuned
            on, or at most `MAX_CONTEXT_TOKENS` of its document.
        ids: its tokens.
        opening: the text, mostly a space, with which the first of its tokens begins before it.
        is_in_example: whether `before` is what stands before it in the sequence that its example was trained as.
    """

    text: str
    context: str
    sha256: str | None
    source: Source
    before: tuple[int, ...]
    ids: tuple[int, ...]
    opening: str
    is_in_example: bool

    def plain(self, score: ContinuationScore | None = None) -> dict[str, Any]:
        """It as JSON values, with what lists of findings have."""
        return {
            "kind": KIND,
            "is_secret": False,
            "text": self.text,
            "placeholder": PLACEHOLDER,
            "sha256": self.sha256,
            **{key: value for key, value in asdict(self.source).items() if key != "sha256"},
            "file_sha256": self.source.sha256,
            **({} if score is None else said(score)),
        }


def said(score: ContinuationScore) -> dict[str, Any]:
    """How easily a model says something, as JSON values: its log-probability in nats, the tries for an even chance of
    it, and whether greedy decoding writes it."""
    return {
        "log_probability": score.log_likelihood,
        "tries": tries_of(score.log_likelihood),
        "is_greedy": score.is_greedy,
    }


def mentions(text: LearnedText, wanted: Sequence[Wanted], *, in_examples: bool = True) -> Iterator[Mention]:
    """The places of some words in a text, document by document. Places that overlap are one.

    Args:
        in_examples: whether what stands before a place in an example is all of that, as it was trained on.

    Raises:
        UserError: the examples are gone, so that it is not known.
    """
    spans_of = {}
    for document in range(len(text.ends)):
        words = text.text_of(document).decode("utf-8", "replace")
        every = (span for each in wanted for span in each.spans(words))
        if spans := without_overlaps(sorted(every, key=lambda span: span[0] - span[1]), lambda span: span):
            spans_of[document] = spans
    in_place = text.in_place([*spans_of]) if in_examples else {}
    for document, spans in spans_of.items():
        yield from _mentions_in(text, document, spans, in_place.get(document))


def _mentions_in(text: LearnedText, document: int, spans: Sequence[Span], place: InPlace | None) -> Iterator[Mention]:
    """The places in a document, and where that stands in an example, if it does."""
    words, sha256 = text.text_of(document).decode("utf-8", "replace"), text.sha256_of(document)
    begin, own = text.bounds(document)[0], InPlace.of(text.tokens_of(document), text.tokenizer)
    for (start, stop), (first_byte, end) in zip(spans, _in_bytes(words, spans), strict=True):
        in_document = own.tokens(first_byte, end)
        read, tokens = (own, in_document) if place is None else (place, place.tokens(first_byte, end))
        first = 0 if place is not None else max(0, tokens.start - MAX_CONTEXT_TOKENS)
        yield Mention(
            text=words[start:stop],
            context=words[max(0, start - CONTEXT_CHARACTERS) : start],
            sha256=sha256,
            source=text.source(begin + in_document.start, in_document.stop - in_document.start),
            before=tuple(map(int, read.ids[first : tokens.start])),
            ids=tuple(map(int, read.ids[tokens])),
            opening=read.opening(first_byte, text.tokenizer),
            is_in_example=place is not None,
        )


def _in_bytes(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """Spans of characters, in order and without overlaps, as spans of bytes of UTF-8."""
    done = place = 0
    for start, stop in spans:
        first = place + len(text[done:start].encode("utf-8", "replace"))
        done, place = stop, first + len(text[start:stop].encode("utf-8", "replace"))
        yield first, place


def scored(model: GPT, tokenizer: Tokenizer, found: Sequence[Mention]) -> list[ContinuationScore]:
    """How easily the model says each of some mentions after what stands before it."""
    room = model.config.context_length - 1
    beginning = (tokenizer.eos_token_id,)
    return score_continuations(model, [((each.before or beginning)[-room:], each.ids[:room]) for each in found])


def tokens_of_words(tokenizer: Tokenizer, wanted: Sequence[Wanted]) -> list[str]:
    """The tokens of a vocabulary that are one of the words, whole: anybody reads them in tokenizer.json."""
    words = {word.casefold() for each in wanted for word in each.words if len(word) >= FEWEST_LETTERS}
    spelled = (token.decode("utf-8", "ignore").strip() for token in tokenizer.token_bytes)
    return sorted({token for token in spelled if token.casefold() in words})
