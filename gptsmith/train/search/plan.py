"""The content of search.json: the settings of the run without a search, and the range of each searched setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from gptsmith.base.assignments import with_assignments
from gptsmith.base.settings import Settings, merged

SEARCH = "search"
"""The folder of a run in which its search is."""
SEARCH_PLAN = "search.json"

RATE, ROWS, EPOCHS, DROPOUT, RANK = (
    "train.optimizer.learning_rate",
    "train.batch_size",
    "epochs",
    "model.dropout",
    "lora",
)
"""The settings that can be searched, by the names under which a person sets them."""
PATHS = {RATE: RATE, ROWS: ROWS, EPOCHS: "request.epochs", DROPOUT: DROPOUT, RANK: "request.lora"}
"""Where each stands in a table of settings."""


class Range(Settings):
    """The values of a setting that are tried."""

    default: float
    """The value without a search, which is tried first."""
    low: float
    high: float
    log: bool = False
    """Whether a value is as likely to be twice the default as to be half of it."""
    whole: bool = False
    """Whether only whole numbers are tried."""


class SearchPlan(Settings):
    """The content of search.json."""

    table: dict[str, Any]
    """The requested settings, without the search."""
    ranges: dict[str, Range]
    """By the names of the settings."""
    num_trials: int = Field(gt=0)
    seed: int

    def table_of(self, values: dict[str, float]) -> dict[str, Any]:
        """The settings of a trial: the requested ones, and the values that it tries."""
        named = merged({"train": {"optimizer": {}}}, self.table)  # a bare name of an optimizer becomes a group
        return with_assignments(named, [f"{PATHS[name]}={value!r}" for name, value in values.items()])


def trial_folder(search: Path, number: int) -> Path:
    """The folder of a trial in that of a search."""
    return search / f"trial-{number:04d}"


def value_at(table: dict[str, Any], path: str) -> Any:
    """The value at a path such as `train.batch_size`; None if there is none."""
    value: Any = table
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def label_of(name: str) -> str:
    """A setting's name for a person: `learning rate`."""
    return "LoRA rank" if name == RANK else name.rpartition(".")[2].replace("_", " ")
