"""The kinds of compression.

Contract: `settings.compress(model, material)` returns a new model whose config records its shape and how its linear
layers are stored, so that a checkpoint of it rebuilds it. The given model stays as it is. Several methods are applied
one after the other, once each has been asked by `require` whether it can do its part; `material` has the original, and
text to learn from. A kind says in `names` by which words `--to` asks for it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from gptsmith.base.console import note
from gptsmith.base.errors import ConfigurationError, did_you_mean, shown
from gptsmith.base.hints import shell_command
from gptsmith.base.kinds import Kinds
from gptsmith.base.settings import Settings
from gptsmith.compress.material import Material
from gptsmith.convert.open import OpenedModel
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT


class MethodSettings(Settings):
    """The settings of every kind of compression."""

    kind: str

    @classmethod
    def names(cls) -> Mapping[str, Mapping[str, Any]]:
        """The words by which `--to` asks for it, each with the settings that it stands for: its kind alone, unless it
        has options of its own."""
        return {cls.model_fields["kind"].default: {}}

    @property
    def name(self) -> str:
        """What a person asks for, and what is added to the name of the run."""
        return self.kind

    def require(self, config: GPTConfig, material: Material) -> GPTConfig:
        """Checks, before any method begins, that this one can do its part, and returns the shape that it makes.

        Args:
            config: the shape of the model that it will be given.

        Raises:
            UserError: such a model cannot be compressed so, or something that is read is missing.
        """
        return config

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
    """What several methods make of a model, one after the other.

    Raises:
        UserError: one of them cannot do its part: before any begins, as far as that can be known.
    """
    if material.run.config.linear.is_storage:
        _note_twice(material.run)
    config = model.config
    for method in methods:
        config = method.require(config, material)
    for method in methods:
        model = method.compress(model, material)
        if model.config.linear.kind == "dense":
            material.unrounded = model
    return model


KINDS = Kinds(__name__, MethodSettings, default="int8")
AnyMethod = Annotated[MethodSettings, KINDS]


def method_of(name: str) -> MethodSettings:
    """The compression that `--to` asks for by that name.

    Raises:
        ConfigurationError: there is none.
    """
    known = {each: (kind, more) for kind in KINDS.names() for each, more in KINDS.settings(kind).names().items()}
    if name not in known:
        raise ConfigurationError(f"--to {shown(name)}: no such compression ({did_you_mean(name, known)})")
    kind, settings = known[name]
    return KINDS.validate({"kind": kind, **settings})


def _note_twice(source: OpenedModel) -> None:
    """Says of what a run is compressed a second time."""
    own = source.lineage()[0]
    first = own.request.get("run") if own.made_by == "compress" else None
    instead = f"; {shell_command('compress', first)} loses less" if first else ""
    note(f"{source.folder} is in {source.config.linear.kind} already, and the difference is that from it{instead}")
