"""The settings of a run that was derived from another."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gptsmith.base.settings import Settings
from gptsmith.model.config import GPTConfig


class DerivedRequest(Settings):
    """The request of a person, before anything was made."""

    run: str
    """The run that it was derived from."""
    method: str | None = None
    """The names of the methods, as they stand in the run's own; None if adapters were merged."""
    methods: list[dict[str, Any]] = Field(default_factory=list)
    """The settings of each, in the order in which they were applied."""
    text: list[str] = Field(default_factory=list)
    """The text that they read instead of the one that the run was trained on."""


class DerivedSettings(Settings):
    """The content of a derived run's run.toml."""

    made_by: Literal["compress", "merge"]
    request: DerivedRequest
    model: GPTConfig
    source: dict[str, Any]
    """The settings of the run that it was derived from."""
