"""Versions of what makes a result: source code by its SHA-256, libraries by their number."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
from pathlib import Path
from types import ModuleType


def source_sha256(package: ModuleType) -> str:
    """The SHA-256 of a module's source, or of that of all modules in a package."""
    return _source_sha256(str(package.__file__))


@functools.cache
def _source_sha256(file: str) -> str:
    path = Path(file)
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    digest = hashlib.sha256()
    for source in files:
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()


def library_version(module: str, distribution: str) -> str | None:
    """The version of an installed library; None if its module cannot be imported."""
    try:
        importlib.import_module(module)
    except ImportError:
        return None
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
