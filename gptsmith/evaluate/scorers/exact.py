"""Correct if the reply equals the answer, except for the white space around it."""

from __future__ import annotations

from typing import Literal

from gptsmith.evaluate.scorers import ScorerSettings


class ExactSettings(ScorerSettings):
    """The whole reply equals the answer."""

    kind: Literal["exact"] = "exact"

    def is_correct(self, reply: str, answer: str) -> bool:
        return reply.strip() == answer.strip()
