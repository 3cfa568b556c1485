"""Settings that a person gives one by one: `a.b=c`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.json_text import json_text
from gptsmith.base.settings import Settings, merged


def parse_assignment(assignment: str) -> tuple[list[str], Any]:
    """`a.b=c` as (["a", "b"], value). The value is read as TOML, and as a plain string if it is not TOML.

    Raises:
        ConfigurationError: there is no `=` or no key.
    """
    path, equals, text = assignment.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ConfigurationError(f"--set {assignment}: write it as key=value, for example --set model.num_layers=6")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    return keys, value


def assignments_of(given: Any) -> list[str]:
    """Settings as a person gives them, as `a.b=c` each: a list of these or one of them, settings in a dictionary by
    their path (`{"model.num_layers": 4}`) or group by group (`{"model": {"num_layers": 4}}`), or a settings object.

    Raises:
        ConfigurationError: it is something else.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, Settings):
        given = {name: value for name, value in given.plain().items() if name not in ("request", "made_by")}
    if isinstance(given, Mapping):
        return list(_assignments_in(given))
    if isinstance(given, list | tuple):
        return [assignment for item in given for assignment in assignments_of(item)]
    raise ConfigurationError(
        f'settings are a dictionary such as {{"model.num_layers": 6}} or a list of "key=value", not {given!r}'
    )


def _assignments_in(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    # A kind comes first, since a group that takes another one drops what only the one before knew.
    for key, value in sorted(table.items(), key=lambda item: item[0] != "kind"):
        if isinstance(value, Settings):
            value = value.plain()
        if isinstance(value, Mapping):
            yield from _assignments_in(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}={_toml(value)}"


def _toml(value: Any) -> str:
    """A value in one line of TOML."""
    if isinstance(value, Settings):
        value = value.plain()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json_text(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json_text(os.fspath(value) if isinstance(value, os.PathLike) else value, ensure_ascii=False, default=str)


def with_assignments(
    data: Mapping[str, Any], assignments: Iterable[str], settings: type[Settings] | None = None
) -> dict[str, Any]:
    """A deep copy of `data`, a table of `settings`, in which each `a.b=c` is set."""
    result = merged(data, {})
    for assignment in assignments:
        keys, value = parse_assignment(assignment)
        for key in reversed(keys):
            value = {key: value}
        result = merged(result, value, settings)
    return result
