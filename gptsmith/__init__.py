"""gptsmith: make, tune, serve, shrink and explain GPT models on hardware that you own.

    import gptsmith
    result = gptsmith.pretrain(["my_texts/"])
    model = gptsmith.load(result["run"])
    print(model.generate("Once upon a time"))

Importing this package imports no torch: each name brings its room when it is first used.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gptsmith.version import __version__

# How long a thread of PyTorch's waits awake for the others. By default so long that two busy programs on one machine
# slow each other six times; this costs nothing where one is alone. It must be known before PyTorch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from gptsmith.base.errors import GptsmithError as GptsmithError
    from gptsmith.base.errors import UserError as UserError
    from gptsmith.convert.load import load as load
    from gptsmith.model.config import GPTConfig as GPTConfig
    from gptsmith.model.gpt import GPT as GPT
    from gptsmith.model.presets import preset as preset
    from gptsmith.train.report import report as report
    from gptsmith.workflows.certify import certify as certify
    from gptsmith.workflows.compress import compress as compress
    from gptsmith.workflows.evaluate import evaluate as evaluate
    from gptsmith.workflows.export import export as export
    from gptsmith.workflows.finetune import finetune as finetune
    from gptsmith.workflows.import_model import import_model as import_model
    from gptsmith.workflows.info import info as info
    from gptsmith.workflows.merge import merge as merge
    from gptsmith.workflows.plan import plan as plan
    from gptsmith.workflows.predict import predict as predict
    from gptsmith.workflows.pretrain import pretrain as pretrain
    from gptsmith.workflows.runs import runs as runs

_HOMES = {
    "GPT": "gptsmith.model.gpt",
    "GPTConfig": "gptsmith.model.config",
    "GptsmithError": "gptsmith.base.errors",
    "UserError": "gptsmith.base.errors",
    "certify": "gptsmith.workflows.certify",
    "compress": "gptsmith.workflows.compress",
    "evaluate": "gptsmith.workflows.evaluate",
    "export": "gptsmith.workflows.export",
    "finetune": "gptsmith.workflows.finetune",
    "import_model": "gptsmith.workflows.import_model",
    "info": "gptsmith.workflows.info",
    "load": "gptsmith.convert.load",
    "merge": "gptsmith.workflows.merge",
    "plan": "gptsmith.workflows.plan",
    "predict": "gptsmith.workflows.predict",
    "preset": "gptsmith.model.presets",
    "pretrain": "gptsmith.workflows.pretrain",
    "report": "gptsmith.train.report",
    "runs": "gptsmith.workflows.runs",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gptsmith' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


class _Face(ModuleType):
    """This module. A room may bear the name of a verb: importing `gptsmith.evaluate` must not hide `evaluate(...)`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
