"""The kinds of compression.

Contract: `settings.compress(model, material)` returns a new model whose config records its shape and how its linear
layers are stored, so that a checkpoint of it rebuilds it. The given model stays as it is. Several methods are applied
one after the other; `material` has the original, and text to learn from.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar

from gptsmith.base.errors import ConfigurationError, did_you_mean, shown
from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.compress.material import Material
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.block_rounding import GRIDS


class MethodSettings(Settings):
    """The settings of every kind of compression."""

    is_by_name: ClassVar[bool] = True
    """Whether `--to` asks for it by its name."""

    kind: str

    @property
    def name(self) -> str:
        """What a person asks for, and what is added to the name of the run."""
        return self.kind

    def require(self, material: Material) -> None:
        """Checks, before any method begins, that there is what this one reads. Most read nothing.

        Raises:
            UserError: something is missing.
        """

    @abstractmethod
    def compress(self, model: GPT, material: Material) -> GPT:
        """A smaller model that computes nearly the same as the original.

        Args:
            model: the original, or what the methods before this one made of it.
            material: the original, text to calibrate with, and where to leave figures.

        Raises:
            UserError: this model cannot be compressed so.
        """


def compressed(model: GPT, methods: Sequence[MethodSettings], material: Material) -> GPT:
    """What several methods make of a model, one after the other."""
    for method in methods:
        method.require(material)
    for method in methods:
        model = method.compress(model, material)
        if model.config.linear.kind == "dense":
            material.unrounded = model
    return model


KINDS = Kinds(__name__, MethodSettings, default="int8")
BLOCK_FORMATS = tuple(GRIDS)
"""The formats that the kind `round` rounds to: each is asked for by its own name."""
AnyMethod = Annotated[MethodSettings, KINDS]


def method_of(name: str) -> MethodSettings:
    """The compression of that name: a kind, or a block format.

    Raises:
        ConfigurationError: there is none.
    """
    kinds = [kind for kind in KINDS.names() if KINDS.settings(kind).is_by_name]
    if name not in (*kinds, *BLOCK_FORMATS):
        raise ConfigurationError(
            f"--to {shown(name)}: no such compression ({did_you_mean(name, (*kinds, *BLOCK_FORMATS))})"
        )
    return KINDS.validate({"kind": "round", "format": name} if name in BLOCK_FORMATS else name)
