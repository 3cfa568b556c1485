"""Documents of older versions, under the names of today. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gptsmith.base.errors import CheckpointError, one_line
from gptsmith.base.renamed import OBJECTIVES, SETTINGS, STATUSES, VALUES

FORMAT_VERSION = 2
"""The format of this version. Version 1 (gptsmith 0.1) had other names for the same things; nothing else differs."""
SPLIT_FORMAT_VERSION = 3
"""The format of a checkpoint whose frozen weights lie in a file of the run (`gptsmith.run.frozen`)."""
PARTS_FORMAT_VERSION = 4
"""The format of a checkpoint with a file of parts of its tensors from each process (`gptsmith.run.stored_tensors`)."""
NEWEST_FORMAT_VERSION = PARTS_FORMAT_VERSION


@contextmanager
def upgrading(path: Path) -> Iterator[None]:
    """Turns what a document of no known form does to the functions below into an error about its file.

    Raises:
        CheckpointError: it has another form.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not as any version writes it: {one_line(error)}") from None


def settings_from(version: int, table: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a run.toml of this version, or of a checkpoint's settings.json, under the names of today."""
    if version >= FORMAT_VERSION:
        return _as_it_was_read(table)
    renamed = _as_it_was_read(_renamed(table, ""))
    request = renamed.get("request", {})
    if isinstance(request.get("settings"), list):
        request["settings"] = [_assignment(text) for text in request["settings"]]
    made_by = "import" if "folder" in request else "finetune" if "base" in request else "pretrain"
    return {"made_by": made_by, **renamed} if request else renamed


def _as_it_was_read(table: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose texts are read and split as they were then: a folder's own splits were one heap until they could
    be kept, and near duplicates could be in different splits until they were looked for."""
    settings = dict(table)
    if isinstance(data := settings.get("data"), Mapping):
        settings["data"] = {"own_splits": False, "group_near_duplicates": False, **data}
    if isinstance(examples := settings.get("examples"), Mapping):
        settings["examples"] = {"group_near_duplicates": False, **examples}
    return settings


DERIVED = {"compressed": "compress", "merged": "merge"}
"""The verb by the status of a run that it derived from another."""


def derived_from(version: int, settings: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run; of one that version 1 derived from another, whose run.toml was the other's with another
    model, as version 2 writes them."""
    verb = DERIVED.get(result.get("status", ""))
    if version >= 2 or verb is None:
        return dict(settings)
    method = settings["model"]["linear"]["kind"] if verb == "compress" else None
    request = {"run": result.get("made_from", ""), **({"method": method} if method else {})}
    return {"made_by": verb, "request": request, "model": settings["model"], "source": dict(settings)}


def model_from(version: int, table: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint's model.json of this version, under the names of today."""
    return dict(table) if version >= FORMAT_VERSION else _renamed(table, "model.")


def plan_from(table: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a plan.json of any version, under the names of today."""
    names = {"said": "predicted", "came": "actual"}
    renamed = {names.get(name, name): value for name, value in table.items()}
    once = renamed.get("replanned")
    if isinstance(once, Mapping):  # until a run could be planned again more than once
        renamed["replanned"] = [{"step": once.get("at_step"), **{k: v for k, v in once.items() if k != "at_step"}}]
    return renamed


def result_from(table: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a result.json of any version, under the names of today."""
    changes = {"status": STATUSES, "objective": OBJECTIVES}
    return {name: changes[name].get(value, value) if name in changes else value for name, value in table.items()}


def train_state_from(version: int, table: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint's train_state.json of this version, under the names of today."""
    names = {"healthy_in_a_row": "accepted_in_a_row"} if version < FORMAT_VERSION else {}
    return {names.get(name, name): value for name, value in table.items()}


DOCUMENTS: dict[str, Callable[[int, Mapping[str, Any]], dict[str, Any]]] = {
    "settings.json": settings_from,
    "model.json": model_from,
    "train_state.json": train_state_from,
}
"""The documents of a checkpoint in which names have changed."""


def _renamed(table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in table.items():
        path = prefix + name
        if isinstance(value, Mapping):
            value = _renamed(value, f"{path}.")
        elif isinstance(value, str):
            value = VALUES.get(path, {}).get(value, VALUES.get(f"{path}.kind", {}).get(value, value))
        result[SETTINGS.get(path, name)] = value
    return result


def _assignment(text: str) -> str:
    """`a.b=c` under the names of today."""
    path, equals, value = text.partition("=")
    value = VALUES.get(path, {}).get(value, VALUES.get(f"{path}.kind", {}).get(value, value))
    parts = path.split(".")
    renamed = [SETTINGS.get(".".join(parts[: number + 1]), part) for number, part in enumerate(parts)]
    return ".".join(renamed) + equals + value
