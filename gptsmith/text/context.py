"""Prompts that fit into a model's context: the one rule for the server, its page and the terminal."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gptsmith.text.tokenizer import TooManyTokensError

M = TypeVar("M", bound=dict[str, Any])


@dataclass(frozen=True)
class FittedPrompt:
    """A prompt, without the beginning for which there was no room.

    Attributes:
        token_ids: the tokens that are left.
        num_omitted: messages of a conversation, or tokens of a text, that were omitted.
    """

    token_ids: list[int]
    num_omitted: int = 0


def max_prompt_tokens(context_length: int, max_tokens: int) -> int:
    """The most tokens of a prompt, so that `max_tokens` fit behind it, or half of the context if that is less."""
    return max(context_length - max_tokens, context_length // 2, 1)


def fit_text(token_ids: Sequence[int], limit: int) -> FittedPrompt:
    """The last `limit` tokens of a text."""
    return FittedPrompt(list(token_ids[-limit:]), max(0, len(token_ids) - limit))


def fit_messages(messages: Sequence[M], encode: Callable[[list[M]], list[int]], limit: int) -> FittedPrompt:
    """The system message and as many of the last messages as fit into `limit` tokens, from a message of the user on; at
    least those from the last one on, whether they fit or not.

    `encode` gives the tokens of a conversation; it is called about log2 of the number of messages times.
    """
    num_kept = 1 if messages and messages[0]["role"] == "system" else 0
    users = (number for number, message in enumerate(messages) if number > num_kept and message["role"] == "user")
    starts = [num_kept, *users]
    encoded: dict[int, list[int]] = {}

    def token_ids(start: int) -> list[int]:
        if start not in encoded:
            encoded[start] = encode([*messages[:num_kept], *messages[start:]])
        return encoded[start]

    def fits(start: int) -> bool:
        try:
            return len(token_ids(start)) <= limit
        except TooManyTokensError:
            return False

    start = starts[0]
    if len(starts) > 1 and not fits(start):
        start = starts[bisect_left(starts, True, lo=1, hi=len(starts) - 1, key=fits)]
    return FittedPrompt(token_ids(start), start - num_kept)
