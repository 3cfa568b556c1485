"""The kinds of checks: whether what a model wrote is the right answer.

Contract: `is_right(reply, answer)`, and `require(answer)` refuses an answer that no reply could agree with.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings


class CheckSettings(Settings):
    """What every kind of check has."""

    kind: str

    @abstractmethod
    def is_right(self, reply: str, answer: str) -> bool:
        """Whether a reply says what the true answer says."""

    def baseline(self, answers: Sequence[str]) -> float:
        """The share of questions that is answered right by always replying the commonest of their answers."""
        ((commonest, _),) = Counter(answers).most_common(1)
        return sum(self.is_right(commonest, answer) for answer in answers) / len(answers)

    def require(self, answer: str) -> None:
        """Accepts every true answer that it can compare with.

        Raises:
            UserError: it cannot compare with this one.
        """


KINDS = Kinds(__name__, CheckSettings, default="exact")
AnyCheck = Annotated[CheckSettings, KINDS]
