"""The lineage of a run: which verbs made it, from what, and on which data. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptsmith.run.paths import RunPaths

SOURCE = "source"
"""The key in the settings of a derived run that holds the settings of the run that it was derived from."""


@dataclass(frozen=True)
class Origin:
    """One step of a lineage.

    Attributes:
        made_by: the verb: `pretrain`, `finetune`, `import`, or `compress` and `merge` of a run derived from another.
        settings: the settings that it was made with.
    """

    made_by: str
    settings: Mapping[str, Any]

    @property
    def request(self) -> Mapping[str, Any]:
        """The request that was made."""
        return dict(self.settings.get("request", {}))

    @property
    def sources(self) -> list[str]:
        """The files, folders and patterns of the data that was trained on; empty if nothing was trained."""
        return list(self.request.get("sources", []))

    @property
    def base(self) -> str | None:
        """The run or model folder whose weights it began with; None if it began with none, or with those of the next
        step of the lineage."""
        return self.request.get("base")

    @property
    def is_trained(self) -> bool:
        """Whether weights were trained in this step."""
        return "train" in self.settings


class HasLineage(ABC):
    """A trained model that says what made it and from what.

    Attributes:
        folder: the folder that it is in.
    """

    folder: Path

    @property
    def paths(self) -> RunPaths:
        """The places of the files that it names."""
        return RunPaths(self.folder)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The settings that it was made with: `made_by`, `request`, `model` and more."""

    def lineage(self) -> list[Origin]:
        """The steps that made it, the last one first, as far as it tells itself: of a run that began with another one's
        weights, the last step names that as its `base`."""
        return list(origins(self.settings()))

    @property
    def made_by(self) -> str:
        """The verb that made it: `pretrain`, `finetune`, `import`, `compress` or `merge`."""
        return self.lineage()[0].made_by

    def training(self) -> Origin | None:
        """The step in which its weights were last trained; None if they were trained elsewhere."""
        return next((origin for origin in self.lineage() if origin.is_trained), None)

    @property
    def dtype(self) -> str:
        """The dtype that it was trained in; `auto` if it was trained elsewhere."""
        training = self.training()
        return "auto" if training is None else str(training.settings["train"].get("dtype", "auto"))

    def request(self) -> dict[str, Any]:
        """The request that it was made from."""
        return dict(self.settings().get("request", {}))


def origins(settings: Mapping[str, Any]) -> Iterator[Origin]:
    """The steps that the settings of a run tell, the last one first: its own, and those of what it was derived from."""
    yield Origin(settings.get("made_by", ""), {key: value for key, value in settings.items() if key != SOURCE})
    if SOURCE in settings:
        yield from origins(settings[SOURCE])
