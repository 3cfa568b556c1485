"""Correct if the answer stands somewhere in the reply, in upper or lower case."""

from __future__ import annotations

from typing import Literal

from gptsmith.base.errors import UserError
from gptsmith.evaluate.scorers import ScorerSettings


class ContainsSettings(ScorerSettings):
    """The reply contains the answer."""

    kind: Literal["contains"] = "contains"

    def is_correct(self, reply: str, answer: str) -> bool:
        return answer.strip().casefold() in reply.casefold()

    def validate_answer(self, answer: str) -> None:
        if not answer.strip():
            raise UserError("the answer is empty, and every reply contains that: give it words")
