"""The kinds of compression.

Contract: `settings.compress(model)` returns a new model whose config records how its linear layers are stored, so that
a checkpoint of it rebuilds it. The given model stays as it is.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.model.gpt import GPT


class MethodSettings(Settings):
    """The settings of every kind of compression."""

    kind: str

    @abstractmethod
    def compress(self, model: GPT) -> GPT:
        """A smaller model that computes nearly the same.

        Raises:
            UserError: this model cannot be compressed so.
        """


KINDS = Kinds(__name__, MethodSettings, default="int8")
AnyMethod = Annotated[MethodSettings, KINDS]
