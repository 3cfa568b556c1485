"""The settings of an imported run."""

from __future__ import annotations

from typing import Literal

from gptsmith.base.settings import Settings
from gptsmith.model.config import GPTConfig


class ImportRequest(Settings):
    """The request of a person, before anything was made."""

    folder: str
    """The folder of the other program's."""
    model_type: str
    """Its family."""
    base: str | None = None
    """The run that adapters were applied to; None if the folder held a whole model."""


class ImportSettings(Settings):
    """The content of an imported run's run.toml."""

    made_by: Literal["import"] = "import"

    request: ImportRequest
    model: GPTConfig
