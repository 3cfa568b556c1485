"""Everything that a model learnt of a person: the places in its texts, and how easily it says them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from gptsmith.evaluate.loglikelihood import ContinuationScore, score_continuations
from gptsmith.model.gpt import GPT
from gptsmith.privacy.wanted import Wanted
from gptsmith.provenance.learned_text import LearnedText, Source
from gptsmith.text.tokenizer import Tokenizer

KIND, PLACEHOLDER = "passage", "<REMOVED>"
MAX_CONTEXT_TOKENS, CONTEXT_CHARACTERS = 100, 200
"""Of a place, from which the model is to predict it."""
FEWEST_LETTERS = 3
"""Of a token that is told as part of a word."""
MOST_NATS = 40.0
"""What is less likely takes more tries than can be made: 2e17."""


@dataclass(frozen=True)
class Mention:
    """A place where the words stand in what a model learnt from.

    Attributes:
        text: the words, as they are spelled there.
        sha256: of the text of its document, by which it can be left out.
        source: the file, the line and what stands around.
        context: the text before it in its document, at most `CONTEXT_CHARACTERS`.
        before: the tokens of the document before it, at most `MAX_CONTEXT_TOKENS`.
        ids: its tokens.
    """

    text: str
    context: str
    sha256: str | None
    source: Source
    before: tuple[int, ...]
    ids: tuple[int, ...]

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
    """How easily a model says something, as JSON values: its log-probability in nats, the tries after which it is
    expected (None for more than can be made), and whether greedy decoding writes it."""
    surprise = -score.log_likelihood
    return {
        "log_probability": score.log_likelihood,
        "tries": math.exp(surprise) if surprise < MOST_NATS else None,
        "is_greedy": score.is_greedy,
    }


def mentions(text: LearnedText, wanted: Sequence[Wanted]) -> Iterator[Mention]:
    """The places of some words in a text, document by document. Places that overlap are one."""
    sizes = text.tokenizer.num_bytes_per_token
    for document in range(len(text.ends)):
        content = text.text_of(document)
        words = content.decode("utf-8", "replace")
        spans = _apart(span for each in wanted for span in each.spans(words))
        if not spans:
            continue
        tokens, (begin, _) = text.tokens_of(document), text.bounds(document)
        stops = np.cumsum(sizes[tokens.astype(np.int64)])
        places = [0, *accumulate(len(character.encode("utf-8", "replace")) for character in words)]
        for start, stop in spans:
            first = min(int(np.searchsorted(stops, places[start], side="right")), len(tokens) - 1)
            last = min(max(int(np.searchsorted(stops, places[stop])), first), len(tokens) - 1)
            yield Mention(
                words[start:stop],
                words[max(0, start - CONTEXT_CHARACTERS) : start],
                text.sha256_of(document),
                text.source(begin + first, last + 1 - first),
                tuple(map(int, tokens[max(0, first - MAX_CONTEXT_TOKENS) : first])),
                tuple(map(int, tokens[first : last + 1])),
            )


def _apart(spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order; of those that overlap, the longest."""
    kept: list[tuple[int, int]] = []
    for start, stop in sorted(spans, key=lambda span: span[0] - span[1]):
        if all(stop <= other or start >= end for other, end in kept):
            kept.append((start, stop))
    return sorted(kept)


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
