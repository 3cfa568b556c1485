"""Correct if a regular expression matches the reply and its first group is the answer."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator

from gptsmith.base.errors import UserError
from gptsmith.evaluate.scorers import ScorerSettings


class PatternSettings(ScorerSettings):
    """The last match counts. A pattern without a group is correct wherever it matches."""

    kind: Literal["pattern"] = "pattern"
    pattern: str
    """The regular expression, such as `answer is (\\w+)`."""

    @field_validator("pattern")
    @classmethod
    def _sound(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(f"{pattern!r} is not a regular expression: {error}") from None
        return pattern

    def is_correct(self, reply: str, answer: str) -> bool:
        found = list(re.finditer(self.pattern, reply))
        if not found or found[-1].re.groups == 0:
            return bool(found)
        return (found[-1][1] or "").strip() == answer.strip()
