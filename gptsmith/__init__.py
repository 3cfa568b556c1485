"""gptsmith: make, tune, serve, shrink and explain GPT models on hardware that you own.

    import gptsmith
    result = gptsmith.pretrain(["my_texts/"])
    model = gptsmith.load(result["run"])
    print(model.generate("Once upon a time"))

Importing this package imports no torch: each name imports its module when it is first used.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

# How long a thread of PyTorch's waits awake for the others. By default so long that two busy programs on one machine
# slow each other six times; half of this, and waking up takes a quarter of a small step. It must be known before
# PyTorch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_HOMES = {name: home for home, name in re.findall(r"^from (\S+) import (\w+) as \2$", _STUB, re.MULTILINE)}
"""The module of each public name. They are listed once, in the stub file, which type checkers read too."""

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gptsmith' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    if (Path(__file__).parent / name).is_dir():
        # A verb and a package of one name: the function has the package's attributes, so that
        # `import gptsmith.generate.sampling as sampling` finds them. Its own, such as its signature, stay.
        package = import_module(f"gptsmith.{name}")
        if value.__dict__ is not package.__dict__:
            package.__dict__.update(value.__dict__)
            value.__dict__ = package.__dict__
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


class _Face(ModuleType):
    """This module. A package may have a verb's name: importing `gptsmith.evaluate` must not hide `evaluate(...)`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
