"""A kind is one file: the files of a folder are the values that its setting takes."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from gptsmith.base.errors import ConfigurationError, did_you_mean, one_line, shown
from gptsmith.base.outside import classes_in, imported_files, registered, registered_module
from gptsmith.base.settings import Settings

S = TypeVar("S", bound=Settings)


class Kinds(Generic[S]):
    """The kinds in the folder of `package`, each a module that defines one subclass of `base`.

    Stands in an `Annotated` type, so that a field of a settings class takes a kind's name, a table with a `kind`
    key, or the settings themselves:

        KINDS = Kinds(__name__, AttentionSettings)
        AnyAttention = Annotated[AttentionSettings, KINDS]
    """

    def __init__(self, package: str, base: type[S], default: str | None = None) -> None:
        self.package = package
        self.base = base
        self.default = default

    @property
    def noun(self) -> str:
        return self.package.rpartition(".")[2].rstrip("s")

    def names(self) -> list[str]:
        """The names of all kinds, in alphabetical order."""
        return sorted({*self._own(), *registered(self.package), *self._imported()})

    def _own(self) -> frozenset[str]:
        paths = tuple(importlib.import_module(self.package).__path__)
        return _modules(paths, tuple(Path(path).stat().st_mtime_ns for path in paths))

    def _imported(self) -> dict[str, type[S]]:
        """The kinds in files that a person named."""
        classes = [found for file in imported_files() for found in classes_in(file.module, self.base)]
        return {kind: found for found in classes if isinstance(kind := found.model_fields["kind"].default, str)}

    def settings(self, name: str) -> type[S]:
        """The settings class of one kind.

        Raises:
            ConfigurationError: no kind has that name.
        """
        if name not in self.names():
            nearest = did_you_mean(name, self.names())
            raise ConfigurationError(f"no such kind of {self.noun}: {one_line(name, 100)} ({nearest})")
        if name in self._own():
            module = importlib.import_module(f"{self.package}.{name}")
        elif name in (imported := self._imported()):
            return imported[name]
        else:
            module = registered_module(registered(self.package)[name])
        classes = classes_in(module, self.base)
        assert len(classes) == 1, f"{module.__name__} must define one subclass of {self.base.__name__}"
        return classes[0]

    def validate(self, value: Any) -> S:
        """The settings that a name, a table or a settings object stands for."""
        if isinstance(value, self.base):
            return value
        if isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                f"expected the name of a kind of {self.noun} or a table with a kind, not {shown(value)}"
            )
        name = value.get("kind", self.default)
        if not isinstance(name, str):
            raise ConfigurationError(f"name a kind of {self.noun}: {', '.join(self.names())}")
        return self.settings(name).model_validate({**value, "kind": name})

    def field(self, name: str, **settings: Any) -> Any:
        """A pydantic field whose default is this kind with these settings."""
        return Field(default_factory=lambda: self.validate({"kind": name, **settings}))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda settings, info: settings.model_dump(mode=info.mode, exclude_none=info.exclude_none),
                info_arg=True,
            ),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        classes = [self.settings(name) for name in self.names()]
        return {"anyOf": [{"enum": self.names()}, *(_without_references(cls.model_json_schema()) for cls in classes)]}


@functools.cache
def _modules(paths: tuple[str, ...], changed_ns: tuple[int, ...]) -> frozenset[str]:
    """The names of the modules in these folders, read again when a folder has changed."""
    return frozenset(module.name for module in pkgutil.iter_modules(paths))


def _without_references(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its definitions put where they are used, because it becomes a part of another."""
    definitions = schema.pop("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(item) for item in value]
        if not isinstance(value, dict):
            return value
        if reference := value.get("$ref"):
            value = {**definitions[reference.rpartition("/")[2]], **{k: v for k, v in value.items() if k != "$ref"}}
        return {key: inlined(item) for key, item in value.items()}

    return dict(inlined(schema))
