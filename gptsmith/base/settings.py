"""Typed settings: frozen classes, tables merged group by group, TOML files, and errors that name the key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, get_args, get_origin, runtime_checkable

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from gptsmith.base.bounded import read_text
from gptsmith.base.errors import (
    MAX_NAME_CHARACTERS,
    ConfigurationError,
    UnknownSettingError,
    UserError,
    one_line,
    renamed,
    shown,
    suggestion,
)
from gptsmith.base.json_reader import require_bounded_values
from gptsmith.base.wrong_values import problem_in_words

MAX_TOML_BYTES = 16_000_000
FIXED = "fixed"
"""Marks a setting, or a group, that a run keeps from its first step to its last: `Annotated[int, FIXED]`."""


class Settings(BaseModel):
    """A frozen group of settings. An unknown key is refused with the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)
    is_set_by_path: ClassVar[bool] = True
    """Whether a person sets what is in this group one by one: `--set group.name=value`."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise UnknownSettingError(str(key)[:MAX_NAME_CHARACTERS], cls.model_fields)
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
            problems = error.errors()
            unknown = [each for each in problems if isinstance(each.get("ctx", {}).get("error"), UnknownSettingError)]
            first = (unknown or problems)[0]
            key = one_line(".".join(str(part) for part in first["loc"]), 200) if first["loc"] else ""
            cause = first.get("ctx", {}).get("error")
            # A group read alone, such as `model`, has its own name before the path.
            form = f"{origin}.{{}}" if origins is None and origin.isidentifier() and origin != "settings" else "{}"
            if isinstance(cause, UnknownSettingError) and (elsewhere := found_elsewhere(cause, cls, form)):
                cause = ConfigurationError(f"no such setting: {cause.key} ({elsewhere})")
            problem = str(cause) if isinstance(cause, UserError) else problem_in_words(first)
            says_enough = isinstance(cause, ValueError) or first["type"] == "missing"
            details = [] if says_enough else [f"given: {shown(first['input'])}"]
            if origins is not None:
                origin = ""
                if (source := _source(key, origins)) is not None:
                    details.append(f"from {source}")
            place = "".join(f"{part}: " for part in (origin, key) if part)
            raise ConfigurationError(f"{place}{problem}" + (f" ({', '.join(details)})" if details else "")) from None

    def plain(self) -> dict[str, Any]:
        """These settings as nested dictionaries of TOML and JSON values; what is None is left out."""
        return self.model_dump(mode="json", exclude_none=True)


def found_elsewhere(error: UnknownSettingError, settings: type[Settings], form: str = "{}") -> str:
    """`did you mean train.optimizer.learning_rate?` for an unknown key that another group of `settings` has; nothing if
    its own group has one of that meaning, or none has. `form` shows a path."""
    if renamed(error.key, error.allowed):
        return ""
    paths = dict(setting_paths(settings))
    by_name: dict[str, list[str]] = {}
    for path in paths:
        by_name.setdefault(path.rpartition(".")[2], []).append(path)
    found = [path for name in renamed(error.key, by_name) for path in by_name[name]]
    usual = [path for path in found if paths[path] is None]
    if usual or not found:
        return suggestion([form.format(path) for path in usual])
    return suggestion([f"{form.format(path)} of the kind {paths[path]}" for path in found])


def setting_paths(
    settings: type[Settings], prefix: str = "", kind: str | None = None
) -> Iterator[tuple[str, str | None]]:
    """The path of each setting, groups first, and the kind of its group if that is not the usual one."""
    for name, field in settings.model_fields.items():
        kinds, group = group_of(settings, name)
        if group is not None and not group.is_set_by_path:
            continue
        yield f"{prefix}{name}", kind
        if group is not None:
            yield from setting_paths(group, f"{prefix}{name}.", kind)
        elif kinds is not None:
            usual = getattr(field.get_default(call_default_factory=True), "kind", None)
            known = set()
            for each in sorted(kinds.names(), key=lambda one: one != usual):
                for path, inner in setting_paths(
                    kinds.settings(each), f"{prefix}{name}.", None if each == usual else each
                ):
                    if path not in known:
                        known.add(path)
                        yield path, inner


def _source(key: str, origins: Mapping[str, str]) -> str | None:
    """Where the value at a path came from; of a group, where all of its values did; None if that is not known."""
    if key in origins:
        return origins[key]
    inside = {origin for path, origin in origins.items() if path.startswith(f"{key}.")}
    return inside.pop() if key and len(inside) == 1 else None


@dataclass(frozen=True)
class KindChange:
    """A setting that changes because its group takes another kind.

    Attributes:
        path: the setting, such as `model.norm.epsilon`.
        before: its value with the kind before.
        after: its value with the new kind; None if that has no such setting.
        why: the reason, for a person.
    """

    path: str
    before: Any
    after: Any
    why: str

    def __str__(self) -> str:
        after = "nothing" if self.after is None else self.after
        return f"{self.path}: {self.before} -> {after} ({self.why})"


@runtime_checkable
class GroupKinds(Protocol):
    """The kinds of a group of settings, as they stand in the metadata of its field: `gptsmith.base.kinds.Kinds`."""

    def names(self) -> list[str]: ...

    def settings(self, name: str) -> type[Settings]: ...


def merged(
    below: Mapping[str, Any],
    above: Mapping[str, Any],
    settings: type[Settings] | None = None,
    changes: list[KindChange] | None = None,
    prefix: str = "",
) -> dict[str, Any]:
    """`below` with the values of `above` on top, group by group; a bare string names a kind.

    A group that names another kind keeps the settings that both kinds share: of the same name, type and default. The
    others mean nothing to it, or something else.

    Args:
        settings: the class that the tables are settings of; without it the kinds share nothing.
        changes: takes what else changes with a kind.
    """
    result = {key: merged(value, {}) if isinstance(value, Mapping) else value for key, value in below.items()}
    for key, value in above.items():
        old, path = result.get(key), f"{prefix}{key}."
        kinds, group = group_of(settings, key)
        if isinstance(value, str) and (isinstance(old, Mapping) or kinds):
            value = {"kind": value}
        if not isinstance(value, Mapping):
            result[key] = value
            continue
        table = dict(old) if isinstance(old, Mapping) else {}
        before = table.get("kind") or (None if table else _default_kind(settings, key))
        after = value.get("kind", before)
        if kinds is not None and after in kinds.names():
            group = kinds.settings(after)
        if before is not None and after != before:
            known = kinds is not None and {before, after} <= {*kinds.names()}
            table = _carried(table, kinds.settings(before), group, value, changes, path) if kinds and known else {}
        result[key] = merged(table, value, group, changes, path)
    return result


def group_of(settings: type[Settings] | None, key: str) -> tuple[GroupKinds | None, type[Settings] | None]:
    """The kinds of a group of `settings`, or else its class; neither if it is no group, or not known."""
    field = settings.model_fields.get(key) if settings is not None else None
    if field is None:
        return None, None
    kinds = next((one for one in field.metadata if isinstance(one, GroupKinds)), None)
    if kinds is None and isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
        return None, field.annotation
    return kinds, None


def _default_kind(settings: type[Settings] | None, key: str) -> str | None:
    field = settings.model_fields.get(key) if settings is not None else None
    default = None if field is None else field.get_default(call_default_factory=True)
    return getattr(default, "kind", None)


def _carried(
    old: Mapping[str, Any],
    before: type[Settings],
    after: type[Settings] | None,
    above: Mapping[str, Any],
    changes: list[KindChange] | None,
    prefix: str,
) -> dict[str, Any]:
    """The values of a group that another kind keeps; the other ones go to `changes`."""
    assert after is not None
    fields, new_fields = before.model_fields, after.model_fields
    kept: dict[str, Any] = {}
    for name in [*dict.fromkeys([*fields, *old])]:
        if name == "kind" or name in above:
            continue
        default = fields[name].get_default(call_default_factory=True) if name in fields else None
        value = old.get(name, default)
        new_default = new_fields[name].get_default(call_default_factory=True) if name in new_fields else None
        is_shared = name in new_fields and (
            name not in fields
            or (default == new_default and _takes_what(new_fields[name].annotation, fields[name].annotation, value))
        )
        if is_shared and name in old:
            kept[name] = value
        elif changes is not None and not is_shared and value != new_default and (name in new_fields or name in old):
            kind = new_fields["kind"].default
            why = f"the default of {kind}" if name in new_fields else f"{kind} has no such setting"
            changes.append(KindChange(prefix + name, value, new_default, why))
    return kept


def _takes_what(new: Any, old: Any, value: Any) -> bool:
    """Whether a field of one type takes a value of another's: that of the same type does, and one with choices takes
    each of them."""
    return bool(new == old or (get_origin(new) is Literal and value in get_args(new)))


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
        ConfigurationError: the file is missing, unreadable, not TOML or beyond a bound.
    """
    try:
        table = tomllib.loads(read_text(path, MAX_TOML_BYTES))
        require_bounded_values(table)
    except UserError as error:
        raise ConfigurationError(str(error)) from None
    except RecursionError:
        raise ConfigurationError(f"{path} is not a TOML file: nested too deeply") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is not a TOML file: {one_line(error)}") from None
    return table
