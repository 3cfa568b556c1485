"""The kinds of scorer: whether a model's reply is the right answer.

Contract: `is_correct(reply, answer)`, and `validate_answer(answer)` refuses an answer that no reply could match.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings


class ScorerSettings(Settings):
    """Base class of every kind of scorer."""

    kind: str

    @abstractmethod
    def is_correct(self, reply: str, answer: str) -> bool:
        """Whether a reply matches the right answer."""

    def baseline(self, answers: Sequence[str]) -> float:
        """The accuracy of always replying with the most common answer."""
        ((commonest, _),) = Counter(answers).most_common(1)
        return sum(self.is_correct(commonest, answer) for answer in answers) / len(answers)

    def validate_answer(self, answer: str) -> None:
        """Accept a right answer that replies can be compared with.

        Raises:
            UserError: no reply can be compared with this one.
        """


KINDS = Kinds(__name__, ScorerSettings, default="exact")
AnyScorer = Annotated[ScorerSettings, KINDS]
