"""The kinds of explanation.

Contract: `settings.explain(question)` returns claims about one answer of a model. A claim that names parts of the
prompt or of the network brings a test of them; its sentence speaks of association before that, and of cause only if the
claim holds. The model stays as it is.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.explain.claim import Claim
from gptsmith.explain.question import Question


class MethodSettings(Settings):
    """The settings of every kind of explanation."""

    is_tested: ClassVar[bool] = True
    """Whether its claims are tested, and share the chance of an error with other methods that are."""

    needs_gradients: ClassVar[bool] = False
    """Whether it needs gradients, which a model that is served does not have."""

    kind: str

    @abstractmethod
    def explain(self, question: Question) -> list[Claim]:
        """Claims about an answer.

        Raises:
            UserError: this model or this question cannot be explained so; the message names what can.
        """


KINDS = Kinds(__name__, MethodSettings, default="leave_one_out")
DEFAULT_METHODS = ("alternatives", "leave_one_out")
"""The methods that need no more than forward passes of the model that answered, and are worth their time."""
PARTS_METHODS = ("direct_logit_attribution", "logit_lens")
"""The methods that name parts of the network."""
