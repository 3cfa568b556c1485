"""The rows of the table of runs: how a run stands, what it was made from, and the settings in which runs differ."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gptsmith.base.console import label_of
from gptsmith.base.errors import GptsmithError
from gptsmith.run.folder import SETTINGS, Run
from gptsmith.train.report import REPORT, plan_of

MAX_SETTINGS, MAX_VALUE_CHARACTERS = 12, 60
NOT_COMPARED = ("request", "source")
"""The tables of a run.toml that say where its files are, and what another run was."""


class Described(NamedTuple):
    """What the settings of a run say of it."""

    settings: Mapping[str, Any]
    """Each setting by its path."""
    num_steps: int | None
    base: Path | None
    """The folder that its weights were made from."""


def listing(runs: Mapping[str, Path]) -> dict[str, Any]:
    """The runs, and the settings in which they differ.

    Returns:
        runs: a row for each: name, num_bytes and age_seconds of its log, its plan, has_report, made_from (the name of
            another of these runs if is_listed, or else of the folder) and its values of the settings;
        settings: those settings, in their order, as [path, heading];
        num_settings_left_out: how many more there are.
    """
    described = {name: described_run(folder) for name, folder in runs.items()}
    names = {folder.resolve(): name for name, folder in runs.items()}
    differing = differing_settings([one.settings for one in described.values()])
    shown = differing[:MAX_SETTINGS]
    rows = []
    for name, folder in runs.items():
        try:
            status = (folder / "metrics.jsonl").stat()
            age, size = time.time() - status.st_mtime, status.st_size
        except OSError:
            age, size = 0.0, 0
        one = described[name]
        rows.append(
            {
                "name": name,
                "num_bytes": size,
                "age_seconds": round(age),
                "plan": plan_of(folder),
                "has_report": (folder / REPORT).is_file(),
                "made_from": None if one.base is None else names.get(one.base, one.base.name),
                "is_listed": one.base in names,
                "settings": [_short(one.settings.get(path)) for path in shown],
            }
        )
    return {
        "runs": rows,
        "settings": [[path, heading(name)] for path, name in zip(shown, short_names(shown), strict=True)],
        "num_settings_left_out": len(differing) - len(shown),
    }


def described_run(folder: Path) -> Described:
    """What a run's settings say of it; nothing where they cannot be read. Its files are read again only when they have
    changed."""
    try:
        changed = (folder / SETTINGS).stat().st_mtime_ns
    except OSError:
        return Described({}, None, None)
    return _described(folder, changed)


@functools.lru_cache(maxsize=10_000)
def _described(folder: Path, _: int) -> Described:
    run = Run(folder)
    try:
        settings = run.settings()
        train = settings.get("train") or {}
        num_steps = train.get("num_steps")
        compared = {key: value for key, value in settings.items() if key not in NOT_COMPARED}
        return Described(
            dict(flat(compared)),
            num_steps if isinstance(num_steps, int) else None,
            run.base_folder(),
        )
    except (GptsmithError, OSError):
        return Described({}, None, None)


def flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of nested tables by its path: `model.norm.kind`."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differing_settings(tables: list[Mapping[str, Any]]) -> list[str]:
    """The paths that have more than one value, those that most tables have first, else in their order."""
    paths = list(dict.fromkeys(path for table in tables for path in table))
    num_tables = {path: sum(path in table for table in tables) for path in paths}
    differing = [path for path in paths if len({repr(table.get(path)) for table in tables}) > 1]
    return sorted(differing, key=lambda path: -num_tables[path])


def short_names(paths: list[str]) -> list[str]:
    """The last parts of each path, as many as tell it from the others and what it is a kind of."""
    names = []
    for path in paths:
        parts = path.split(".")
        others = [other for other in paths if other != path]
        ends = (".".join(parts[-length:]) for length in range(1 + (parts[-1] == "kind"), len(parts) + 1))
        clear = (end for end in ends if not any(f".{other}".endswith(f".{end}") for other in others))
        names.append(next(clear, path))
    return names


def heading(name: str) -> str:
    """The name of a setting for a person: `layers` for num_layers, `norm kind` for norm.kind."""
    return " ".join(label_of(part, keep_unit=True) for part in name.split("."))


def _short(value: Any) -> Any:
    """A value for a cell: a number or a text."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 1] + "…"
