"""The contract of an experiment tracker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any


class Tracker(ABC):
    """Something that gets a run's figures: numbers only, no text.

    Args:
        name: project or experiment to log to, as the setting gives it.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def start(self, run: Path, settings: dict[str, Any]) -> None:
        """Opens it for a run's folder and settings.

        Raises:
            MissingExtraError: its library is not installed.
        """

    @abstractmethod
    def log(self, event: str, figures: dict[str, float], step: int) -> None:
        """Takes the figures of an event, such as `evaluation`, at a step."""

    @abstractmethod
    def close(self) -> None:
        """Writes what is still held back; called once, if it was started."""
