"""How far before its like a text comes in a model's eyes: beside others that might stand in its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from gptsmith.evaluate.loglikelihood import ContinuationScore, score_continuations
from gptsmith.model.gpt import GPT
from gptsmith.privacy.exposure import exposure
from gptsmith.privacy.find import CONTEXT_CHARACTERS, Mention, said
from gptsmith.text.tokenizer import Tokenizer

NUM_TWINS = 127
"""Of each text: with as many, an exposure is at most 7 bits."""
PIECES = re.compile(r"\d|[^\W\d_]+")
"""The parts of a text that a twin has others for: digits, each alone, and words."""
NAME = re.compile(r"(?<=[a-z,;] )[A-Z][^\W\d_]+(?: [A-Z][^\W\d_]+)*")
"""Capitalised words that stand inside of a sentence."""


@dataclass(frozen=True)
class Secret:
    """A text and what stands before it.

    Attributes:
        before: a text, which any tokenizer reads; or the ids of a conversation in the chat template that a run keeps,
            with the tokens that it keeps, when it is tuned anew.
        text: the text, with the space before it if `before` are ids.
    """

    before: str | tuple[int, ...]
    text: str

    @classmethod
    def of(cls, mention: Mention) -> Self:
        """A place in what a model learnt from."""
        if mention.is_in_example:
            return cls(mention.before, mention.opening + mention.text)
        return cls(mention.context, mention.text)


class Vocabulary:
    """The distinct words of some texts, capitalised and others: most of them are rare, as those of a secret are."""

    def __init__(self, texts: Iterable[str]) -> None:
        words: dict[bool, set[str]] = {True: set(), False: set()}
        for text in texts:
            for word in PIECES.findall(text):
                words[word[0].isupper()].add(word)
        self._words = {is_capitalized: np.array(sorted(some)) for is_capitalized, some in words.items()}
        self._known = words[True]

    def twin(self, text: str, generator: np.random.Generator) -> str:
        """A text of the same shape: other digits, and other words, capitalised where its own are."""

        def other(found: re.Match[str]) -> str:
            words = self._words[found[0][0].isupper()]
            if found[0].isdigit():
                return str(generator.integers(10))
            return str(generator.choice(words)) if len(words) else found[0]

        return PIECES.sub(other, text)

    def names_not_in_it(self, texts: Iterable[str]) -> list[Secret]:
        """The capitalised words inside of sentences of other texts, of which it has none."""
        return [
            Secret(text[max(0, found.start() - CONTEXT_CHARACTERS) : found.start()], found[0])
            for text in texts
            for found in NAME.finditer(text)
            if self._known.isdisjoint(found[0].split())
        ]


@dataclass(frozen=True)
class Exposed:
    """How easily a model says a text, and how far before its twins it comes, in bits."""

    score: ContinuationScore
    exposure: float

    def plain(self) -> dict[str, Any]:
        """It as JSON values."""
        return {**said(self.score), "exposure": self.exposure}


def exposed(
    model: GPT,
    tokenizer: Tokenizer,
    secrets: Sequence[Secret],
    vocabulary: Vocabulary,
    *,
    seed: int = 0,
    observe: Callable[[int], None] = lambda _: None,
) -> list[Exposed]:
    """How easily a model says each of some texts, and how far before its twins each comes: the same twins by the same
    seed."""
    found = []
    for number, secret in enumerate(secrets):
        generator = np.random.default_rng([seed, number])
        texts = [secret.text, *(vocabulary.twin(secret.text, generator) for _ in range(NUM_TWINS))]
        scores = score_continuations(model, [_pair(model, tokenizer, Secret(secret.before, text)) for text in texts])
        likelihoods = np.array([score.log_likelihood for score in scores])
        found.append(Exposed(scores[0], float(exposure(likelihoods[:1], likelihoods[None, 1:])[0])))
        observe(number + 1)
    return found


def _pair(model: GPT, tokenizer: Tokenizer, secret: Secret) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens before a text and its own. A space between them belongs to the text, as it does in training."""
    before, text = secret.before, secret.text
    if isinstance(before, str):
        stripped = before.rstrip(" ")
        text, before = before[len(stripped) :] + text, tuple(tokenizer.encode(stripped))
    ids = tokenizer.encode(text)
    return before or (tokenizer.eos_token_id,), tuple(ids[: model.config.context_length - 1])
