"""Correct if there is a reply at all."""

from __future__ import annotations

from typing import Literal

from gptsmith.evaluate.scorers import ScorerSettings


class NotEmptySettings(ScorerSettings):
    """Any reply is correct."""

    kind: Literal["not_empty"] = "not_empty"

    def is_correct(self, reply: str, answer: str) -> bool:
        return bool(reply.strip())
