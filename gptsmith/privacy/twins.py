"""How far before its like a text comes in a model's eyes: beside others that might stand in its place."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gptsmith.evaluate.loglikelihood import ContinuationScore, score_continuations
from gptsmith.model.gpt import GPT
from gptsmith.privacy.exposure import exposure
from gptsmith.privacy.find import said
from gptsmith.text.tokenizer import Tokenizer

NUM_TWINS = 127
"""Of each text: with as many, an exposure is at most 7 bits."""
PIECES = re.compile(r"\d|[^\W\d_]+")
"""The parts of a text that a twin has others for: digits, each alone, and words."""
NAME = re.compile(r"(?<=[a-z,;] )[A-Z][^\W\d_]+(?: [A-Z][^\W\d_]+)*")
"""Capitalised words that stand inside of a sentence."""


@dataclass(frozen=True)
class Secret:
    """A text and what stands before it."""

    before: str
    text: str


class Vocabulary:
    """The words of some texts by their shape, as often as they stand there: capitalised or not."""

    def __init__(self, texts: Iterable[str]) -> None:
        words: dict[bool, list[str]] = defaultdict(list)
        self.secrets: list[Secret] = []
        for text in texts:
            for found in PIECES.finditer(text):
                if not found[0].isdigit():
                    words[found[0][0].isupper()].append(found[0])
            self.secrets += [Secret(text[: found.start()], found[0]) for found in NAME.finditer(text)]
        self._words = {shape: np.array(sorted(some)) for shape, some in words.items()}

    def twin(self, text: str, generator: np.random.Generator) -> str:
        """A text of the same shape: other digits, and other words, capitalised where its own are."""

        def other(found: re.Match[str]) -> str:
            if found[0].isdigit():
                return str(generator.integers(10))
            words = self._words.get(found[0][0].isupper())
            return found[0] if words is None else str(generator.choice(words))

        return PIECES.sub(other, text)


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
    before = secret.before.rstrip(" ")
    ids = tokenizer.encode(secret.before[len(before) :] + secret.text)
    start = tokenizer.encode(before) if before else [tokenizer.eos_token_id]
    return tuple(start), tuple(ids[: model.config.context_length - 1])
