"""Typed settings: frozen classes, TOML files, `--set a.b=c`, and errors that name the key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from gptsmith.base.errors import ConfigurationError, UserError, did_you_mean

FIXED = "fixed"
"""Marks a setting, or a group, that a run keeps from its first step to its last: `Annotated[int, FIXED]`."""


class Settings(BaseModel):
    """A frozen group of settings. An unknown key is refused with the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise ConfigurationError(f"no such setting: {key} ({did_you_mean(str(key), cls.model_fields)})")
        return data

    @classmethod
    def parse(
        cls, data: Mapping[str, Any], origin: str = "settings", *, origins: Mapping[str, str] | None = None
    ) -> Self:
        """The settings that `data` spells out.

        Args:
            origin: where `data` comes from as a whole, such as a file.
            origins: where each value comes from, by its path, if that is known: it takes the place of `origin`.

        Raises:
            ConfigurationError: a key is unknown or a value is not allowed; the message names it and where it came from.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            cause = first.get("ctx", {}).get("error")
            problem = str(cause) if isinstance(cause, UserError) else first["msg"].removeprefix("Value error, ")
            details = [] if isinstance(cause, ValueError) else [f"given: {first['input']!r}"]
            if origins is not None:
                origin = ""
                if (source := _source(key, origins)) is not None:
                    details.append(f"from {source}")
            place = "".join(f"{part}: " for part in (origin, key) if part)
            raise ConfigurationError(f"{place}{problem}" + (f" ({', '.join(details)})" if details else "")) from None

    def plain(self) -> dict[str, Any]:
        """These settings as nested dictionaries of TOML and JSON values; what is None is left out."""
        return self.model_dump(mode="json", exclude_none=True)


def _source(key: str, origins: Mapping[str, str]) -> str | None:
    """Where the value at a path came from; of a group, where all of its values did; None if that is not known."""
    if key in origins:
        return origins[key]
    inside = {origin for path, origin in origins.items() if path.startswith(f"{key}.")}
    return inside.pop() if key and len(inside) == 1 else None


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


def with_assignments(data: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A deep copy of `data` in which each `a.b=c` is set."""
    result = merged(data, {})
    for assignment in assignments:
        keys, value = parse_assignment(assignment)
        for key in reversed(keys):
            value = {key: value}
        result = merged(result, value)
    return result


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the values of `above` on top, group by group. A group that names another kind replaces the
    group below it, because the settings of one kind mean nothing to another; a bare string names a kind."""
    result = {key: merged(value, {}) if isinstance(value, Mapping) else value for key, value in below.items()}
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, Mapping):
            result[key] = value
        elif not isinstance(old, Mapping) or value.get("kind", old.get("kind")) != old.get("kind"):
            result[key] = merged(value, {})
        else:
            result[key] = merged(old, value)
    return result


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys, such as `model.num_layers`, whose values are not the same in both."""
    changed = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            changed += changed_keys(before, after, f"{prefix}{key}.")
        elif before != after:
            changed.append(prefix + key)
    return changed


def fixed_settings(settings: type[Settings], prefix: str = "") -> list[str]:
    """The paths of the settings that are marked as `FIXED`."""
    found: list[str] = []
    for name, field in settings.model_fields.items():
        if FIXED in field.metadata:
            found.append(prefix + name)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            found += fixed_settings(field.annotation, f"{prefix}{name}.")
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ConfigurationError: the file is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not a TOML file: {error}") from None
