"""Speculative decoding: proposals of the next tokens. One pass verifies several at once, and a proposed token is kept
only if the model samples the same one: the text is the same with proposals and without, at every temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

LONGEST, SHORTEST = 4, 2
"""The lengths of n-grams that prompt lookup searches for."""
SEARCHED_TOKENS = 2048


class Proposer(Protocol):
    """Something that proposes tokens."""

    def propose(self, texts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[list[int]]:
        """Tokens that may follow each of several texts, given by their ids, up to a limit for each."""


class PromptLookup:
    """Proposes the tokens that followed when the last ones last stood together (Saxena 2023)."""

    def propose(self, texts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[list[int]]:
        return [prompt_lookup(ids, limit) for ids, limit in zip(texts, limits, strict=True)]


def prompt_lookup(ids: Sequence[int], num_tokens: int) -> list[int]:
    """The tokens that followed when the last ones last stood together; none if they never did."""
    text = list(ids[-SEARCHED_TOKENS:])
    for length in range(min(LONGEST, len(text) - 1), SHORTEST - 1, -1):
        tail = text[-length:]
        for start in range(len(text) - length - 1, -1, -1):
            if text[start : start + length] == tail:
                return text[start + length : start + length + num_tokens]
    return []
