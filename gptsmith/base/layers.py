"""Settings in layers: each place where they come from above the one before, and where each value came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from gptsmith.base.assignments import parse_assignment
from gptsmith.base.settings import KindChange, Settings, merged

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Layer:
    """Settings from one place.

    Attributes:
        origin: the place, for a person: `--set`, `--tokenizer`, `the plan`.
        table: the settings, group by group.
    """

    origin: str
    table: Mapping[str, Any]


@dataclass(frozen=True)
class Layered:
    """Layers merged into one table.

    Attributes:
        values: the table.
        origins: where each value came from, by its path, such as `train.batch_size`.
        changes: what changed above the first layer because a group took another kind, and nobody set it.
    """

    values: dict[str, Any]
    origins: dict[str, str]
    changes: list[KindChange]

    def parse(self, settings: type[S]) -> S:
        """The settings that the table spells out.

        Raises:
            UserError: a key is unknown or a value is not allowed; the message names it and where it came from.
        """
        return settings.parse(self.values, origins=self.origins)


def layered(layers: Iterable[Layer], settings: type[Settings] | None = None) -> Layered:
    """Layers of the tables of `settings` merged, the lowest first. See `merged` for groups that take another kind."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    changes: list[KindChange] = []
    for number, layer in enumerate(layers):
        values = merged(values, layer.table, settings, changes if number else None)
        present = set(paths(values))
        # A bare name stands for the group's key `kind`.
        given = {path if path in present else f"{path}.kind": layer.origin for path in paths(layer.table)}
        origins = {path: origin for path, origin in {**origins, **given}.items() if path in present}
    return Layered(values, origins, [change for change in changes if change.path not in origins])


def assignments(settings: Iterable[str], origin: str = "--set") -> list[Layer]:
    """A layer for each `a.b=c`."""
    layers = []
    for assignment in settings:
        keys, value = parse_assignment(assignment)
        for key in reversed(keys):
            value = {key: value}
        layers.append(Layer(origin, value))
    return layers


def paths(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The paths of all values in a table, such as `train.batch_size`."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from paths(value, f"{prefix}{key}.")
        else:
            yield prefix + key
