"""Words of few documents that are tokens of their own: who has the tokenizer, without the model, can read them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.provenance.learned_text import LearnedText
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers import KINDS

MIN_DOCUMENTS = 3
"""A word of so many documents is nobody's own."""
MIN_TEXT_DOCUMENTS = 10
"""In a text of fewer documents every word is in few."""
MIN_LETTERS = 4
MAX_PLACES = 1_000
"""Where a word is looked at."""
BLOCK_TOKENS = 1 << 22
"""Tokens that are counted at once."""


@dataclass(frozen=True)
class RareWord:
    """A token of a vocabulary, without the space before it, and how many documents of the text have it."""

    word: str
    num_documents: int


def learns_words(run: OpenedModel) -> bool:
    """Whether the words of a run's vocabulary are those of its own text."""
    training = run.training()
    if training is None or training.base is not None:
        return False
    kind = dict(training.settings.get("tokenizer", {})).get("kind")
    return kind in KINDS.names() and KINDS.settings(str(kind)).learns_words


def rare_words_of(text: LearnedText) -> list[RareWord]:
    """The words of a text's tokenizer that few of its documents have, the rarest and longest first; none if the
    tokenizer was not trained on it."""
    if len(text.ends) < MIN_TEXT_DOCUMENTS or not learns_words(open_model(text.run, by_hash=False)):
        return []
    words, word_of = _words(text.tokenizer)
    counts = _documents_of(text, word_of, len(words))
    found = [
        RareWord(word, int(counts[number]))
        for number, word in enumerate(words)
        if 0 < counts[number] < MIN_DOCUMENTS and _is_whole(text, np.flatnonzero(word_of == number))
    ]
    return sorted(found, key=lambda each: (each.num_documents, -len(each.word), each.word))


def _words(tokenizer: Tokenizer) -> tuple[list[str], np.ndarray]:
    """The words that are tokens, and for each token (V,) the number of its word; -1 if it is none."""
    numbers: dict[str, int] = {}
    word_of = np.full(tokenizer.vocab_size, -1, np.int64)
    for token, spelt in enumerate(tokenizer.token_bytes):
        word = spelt.decode("utf-8", "replace").strip()
        if len(word) >= MIN_LETTERS and word.isalnum():
            word_of[token] = numbers.setdefault(word, len(numbers))
    return list(numbers), word_of


def _is_whole(text: LearnedText, tokens: np.ndarray) -> bool:
    """Whether one of these tokens (K,), which few documents have, stands in the text as a word, and not inside one."""
    array, spelt = text.array, text.tokenizer.token_bytes
    rows = array.rows(tokens, np.arange(len(tokens)), np.ones(len(tokens), np.int64))
    for token, first, stop in zip(tokens.tolist(), *(row.tolist() for row in rows), strict=True):
        for place in array.places[first : min(stop, first + MAX_PLACES)].tolist():
            around = [array.tokens[at] if 0 <= at < len(array) else array.separator for at in (place - 1, place + 1)]
            before, after = (spelt[at] if at != array.separator else b"" for at in map(int, around))
            line = (before + spelt[token] + after).decode("utf-8", "replace")
            if re.search(rf"\b{re.escape(spelt[token].decode('utf-8', 'replace').strip())}\b", line):
                return True
    return False


def _documents_of(text: LearnedText, word_of: np.ndarray, num_words: int) -> np.ndarray:
    """How many documents each word (W,) is in."""
    counts = np.zeros(num_words, np.int64)
    first = 0
    while first < len(text.ends):  # whole documents, about BLOCK_TOKENS of them at a time
        begin = int(text.ends[first - 1]) if first else 0
        stop = max(first + 1, int(np.searchsorted(text.ends, begin + BLOCK_TOKENS, side="right")))
        tokens = text.array.tokens[begin : int(text.ends[stop - 1])]
        is_token = tokens < len(word_of)  # the separator between examples is none
        words = np.where(is_token, word_of[np.where(is_token, tokens, 0)], -1)
        documents = np.searchsorted(text.ends[first:stop], begin + np.arange(len(tokens)), side="right")
        pairs = np.unique((documents * num_words + words)[words >= 0])
        counts += np.bincount(pairs % num_words, minlength=num_words) if num_words else 0
        first = stop
    return counts
