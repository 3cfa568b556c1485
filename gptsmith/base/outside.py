"""Kinds from outside the package: of files that a person names, and of installed packages that register them."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from gptsmith.base.errors import ConfigurationError, UserError
from gptsmith.base.files import sha256_of
from gptsmith.base.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class ImportedFile:
    """A file that a person named, whose kinds are known in this process."""

    path: Path
    sha256: str
    module: ModuleType


class RecordedImport(Settings):
    """A file whose kinds a run was made with."""

    path: str
    sha256: str


_imported: dict[Path, ImportedFile] = {}


def import_kinds(file: str | Path) -> None:
    """Run a Python file and make the kinds that it defines known, as `--import` does. Only what you name here, or have
    installed, is ever run: never what a run names.

    Raises:
        ConfigurationError: the file is missing, or fails.
    """
    path = Path(file).expanduser().resolve()
    if path in _imported:
        return
    name = f"gptsmith_imported_{len(_imported)}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigurationError(f"--import {file}: there is no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where the annotations of its classes are looked up
    try:
        spec.loader.exec_module(module)
    except UserError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise ConfigurationError(f"--import {file} fails ({type(error).__name__}: {error})") from None
    _imported[path] = ImportedFile(path, sha256_of(path), module)


def imported_files() -> list[ImportedFile]:
    """The files whose kinds are known in this process."""
    return list(_imported.values())


@functools.cache
def registered(package: str) -> dict[str, EntryPoint]:
    """The kinds that installed packages register for a folder of kinds, by name: entry points of the group that is
    named after the folder's package, such as `gptsmith.model.norm`."""
    return {entry.name: entry for entry in entry_points(group=package)}


def registered_module(entry: EntryPoint) -> ModuleType:
    """The module that an installed package registers as a kind.

    Raises:
        ConfigurationError: it cannot be imported, or is no module.
    """
    module = _loaded(entry)
    if not isinstance(module, ModuleType):
        raise ConfigurationError(f"the kind {entry.name} of {_owner(entry)} is no module ({entry.value})")
    return module


def registered_function(entry: EntryPoint) -> Callable[..., Any]:
    """The function that an installed package registers, such as a reward.

    Raises:
        ConfigurationError: it cannot be imported, or cannot be called.
    """
    function = _loaded(entry)
    if not callable(function):
        raise ConfigurationError(f"{entry.name} of {_owner(entry)} is no function ({entry.value})")
    return cast(Callable[..., Any], function)


def classes_in(module: ModuleType, base: type[T]) -> list[type[T]]:
    """The subclasses of a class that a module defines itself."""
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, base) and value.__module__ == module.__name__
    ]


def _loaded(entry: EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:
        raise ConfigurationError(f"the kind {entry.name} of {_owner(entry)} cannot be imported: {error}") from None


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "a package"
