"""A reward for short replies."""

from __future__ import annotations

from collections.abc import Sequence

from gptsmith.text.chat_template import Message


def reward(messages: Sequence[Message], completion: str, answer: str) -> float:
    """1 for an empty completion, less for each of its characters."""
    return 1 / (1 + len(completion))
