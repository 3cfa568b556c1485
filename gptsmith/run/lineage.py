"""How a run came to be: which verb made it, from what, and on which data. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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


def origins(settings: Mapping[str, Any]) -> Iterator[Origin]:
    """The steps that the settings of a run tell, the last one first: its own, and those of what it was derived from."""
    yield Origin(settings["made_by"], {key: value for key, value in settings.items() if key != SOURCE})
    if SOURCE in settings:
        yield from origins(settings[SOURCE])
