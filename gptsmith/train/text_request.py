"""The arguments of every verb that reads text to train on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from gptsmith.base.assignments import assignments_of
from gptsmith.base.errors import ConfigurationError
from gptsmith.base.json_text import json_text
from gptsmith.base.verbs import Assignments, PathText, PathTexts, not_recorded
from gptsmith.data.settings import ReadingOptions
from gptsmith.data.sources import Sources

READ_PATHS = frozenset({"base", "sources", "validation", "test", "without", "redact_passages"})
"""The fields of a request that name what is read whenever its run is trained."""
OPTION_SETTINGS = {
    "learning_rate": "train.optimizer.learning_rate",
    "batch_size": "train.batch_size",
    "max_steps": "train.num_steps",
    "context_length": "model.context_length",
    "seed": "train.seed",
    "canaries": "data.num_canaries",
    "redact": "data.redact",
    "device": "train.device",
    "target_loss": "train.target_loss",
    "lora_alpha": "model.linear.alpha",
    "me": "examples.me",
    "skip_bad": "examples.skip_bad",
}
"""The options that stand for one setting each."""


def _table(path: str, value: Any) -> dict[str, Any]:
    """The table in which the setting at a path, such as `train.batch_size`, has a value."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def tokenizer_option(tokenizer: str | Path | None) -> dict[str, dict[str, Any]]:
    """The settings that `--tokenizer` stands for, by its name; none if it is not given."""
    if tokenizer is None:
        return {}
    path = str(tokenizer)
    table = {"kind": "huggingface", "path": path} if Path(path).exists() else {"kind": path}
    return {"--tokenizer": {"tokenizer": table}}


class TextRequest(ReadingOptions):
    """The arguments of every verb that reads text to train on, now or later."""

    sources: Sources = Field(default_factory=list)
    """Files, folders and glob patterns to train on."""
    validation: Sources = Field(default_factory=list)
    """Files to validate on; by default, a part of the sources."""
    without: PathTexts = Field(default_factory=list)
    """Leave out the documents that a list of `audit --out` names."""
    redact: bool = False
    """Replace what `audit` finds by placeholders such as <EMAIL>."""
    redact_passages: PathTexts = Field(default_factory=list)
    """Replace the passages and names in such a list."""
    canaries: int | None = Field(default=None, gt=0)
    """Made-up passages to plant, for `audit` to look for: 200."""
    config: PathText | None = None
    """A run.toml to read settings from."""
    settings: Assignments = Field(default_factory=list)
    """Any setting, such as model.num_layers=6; above all others."""
    seed: int | None = None
    """Random seed of weights, order of the data and dropout."""
    started: SkipJsonSchema[float | None] = not_recorded()
    """The `time.monotonic()` at which the verb started, from which its time counts; now if not given."""

    @model_validator(mode="before")
    @classmethod
    def _reading_options_are_settings(cls, data: Any) -> Any:
        # They decide the run's data, so that run.toml keeps them with its request.
        if not isinstance(data, Mapping):
            return data
        for name in ReadingOptions.model_fields:
            if data.get(name) is not None:
                setting = f"data.{name}={json_text(data[name])}"
                data = {**data, name: None, "settings": [setting, *assignments_of(data.get("settings", ()))]}
        return data

    @model_validator(mode="after")
    def _can_be_recorded(self) -> Self:
        for name in sorted(READ_PATHS & type(self).model_fields.keys()):
            value = getattr(self, name)
            for path in [value] if isinstance(value, str | Path) else value or ():
                shown = str(path).encode("utf-8", "backslashreplace").decode()
                if shown != str(path):
                    raise ConfigurationError(
                        f"{shown} is a name in bytes that are not UTF-8, which run.toml cannot keep: rename it, or "
                        "give the folder that it is in"
                    )
        return self

    def recorded(self) -> dict[str, Any]:
        """The request as run.toml keeps it, without what has its default."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def located(self, locate: Callable[[str | Path], str]) -> Self:
        """The same request with each of the paths that are read as `locate` gives it.

        Raises:
            CheckpointError: one is not there.
        """
        found: dict[str, Any] = {}
        for name in READ_PATHS & type(self).model_fields.keys():
            value = getattr(self, name)
            found[name] = locate(value) if isinstance(value, str | Path) else [locate(path) for path in value]
        return self.model_copy(update=found)

    def option_settings(self) -> dict[str, dict[str, Any]]:
        """The settings that options stand for, by the name of the option."""
        tables = self._option_tables()
        return {f"--{name.replace('_', '-')}": table for name, table in sorted(tables.items())}

    def _option_tables(self) -> dict[str, dict[str, Any]]:
        """The same by the names of the fields."""
        return {
            name: _table(OPTION_SETTINGS[name], value)
            for name in OPTION_SETTINGS.keys() & type(self).model_fields.keys()
            if (value := getattr(self, name)) is not None and value is not False
        }
