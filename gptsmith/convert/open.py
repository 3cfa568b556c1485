"""What a person names where a run is wanted: a run's folder, or another program's, which is imported on the way in."""

from __future__ import annotations

from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.convert.adapters import is_adapter_folder
from gptsmith.convert.huggingface import is_model_folder
from gptsmith.run.folder import Run


def open_run(path: str | Path) -> Run:
    """The run in a folder; of a Hugging Face model folder, the run that it is imported into, once, in the cache.

    Raises:
        UserError: it is neither, or cannot be imported.
    """
    if is_model_folder(Path(path)):
        from gptsmith.convert.import_model import cached_import

        return cached_import(Path(path))
    if is_adapter_folder(Path(path)):
        raise UserError(f"{path} holds adapters, which need their base: make a run of both with gptsmith import {path}")
    return Run.open(path)
