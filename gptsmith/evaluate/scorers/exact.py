"""Right where the reply is the answer, but for the white space around it."""

from __future__ import annotations

from typing import Literal

from gptsmith.evaluate.scorers import CheckSettings


class ExactSettings(CheckSettings):
    """The whole reply is compared."""

    kind: Literal["exact"] = "exact"

    def is_right(self, reply: str, answer: str) -> bool:
        return reply.strip() == answer.strip()
