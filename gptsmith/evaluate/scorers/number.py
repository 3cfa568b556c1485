"""Correct if the final number of the reply is that of the answer."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal

from gptsmith.base.errors import UserError
from gptsmith.evaluate.scorers import ScorerSettings

NUMBER = re.compile(r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
MARK = "####"


class NumberSettings(ScorerSettings):
    """The first number after ####, as GSM8K writes answers (Cobbe et al. 2021), or the last one if there is no such
    mark. 1,000 and 1000.0 are the same."""

    kind: Literal["number"] = "number"

    def is_correct(self, reply: str, answer: str) -> bool:
        found = final_number(reply)
        return found is not None and found == final_number(answer)

    def validate_answer(self, answer: str) -> None:
        if final_number(answer) is None:
            raise UserError(f"there is no number in the answer {answer!r}: set another scorer, such as scorer=exact")


def final_number(text: str) -> Decimal | None:
    """The final number of a text; None if it has none."""
    _, mark, after = text.rpartition(MARK)
    found = NUMBER.findall(after)
    return Decimal(found[0 if mark else -1].replace(",", "")) if found else None
