"""One new file in a folder of kinds, as a person would add it: nothing else is touched."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def dropped_kind(package: str, file: Path) -> Iterator[None]:
    """Makes a file a module of `package`, such as `gptsmith.model.norm`, under its own name: it is copied into a folder
    of its own, which the package's path then names too. Afterwards nothing of it is left."""
    folder = importlib.import_module(package)
    module = f"{package}.{file.stem}"
    with TemporaryDirectory() as temporary:
        shutil.copy(file, temporary)
        folder.__path__.append(temporary)
        importlib.invalidate_caches()
        try:
            yield
        finally:
            folder.__path__.remove(temporary)
            sys.modules.pop(module, None)
            vars(folder).pop(file.stem, None)
