"""What a person names where a run is wanted: a run's folder, or another program's, which is imported on the way in."""

from __future__ import annotations

from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.exchange.adapters import is_adapter_folder
from gptsmith.exchange.huggingface import is_model_folder
from gptsmith.run.folder import Run
from gptsmith.workflows.settings import ImportSettings, RunSettings, settings_of


def open_run(path: str | Path) -> Run:
    """The run in a folder; of a Hugging Face model folder, the run that it is imported into, once, in the cache.

    Raises:
        UserError: it is neither, or cannot be imported.
    """
    if is_model_folder(Path(path)):
        from gptsmith.workflows.import_model import cached_import

        return cached_import(Path(path))
    if is_adapter_folder(Path(path)):
        raise UserError(f"{path} holds adapters, which need their base: make a run of both with gptsmith import {path}")
    return Run.open(path)


def pretraining_of(run: Run) -> tuple[Run, RunSettings]:
    """The run that a run's weights were first trained in, and its settings: the run itself, or the base of its base.

    Raises:
        UserError: a base on the way is no longer there, or was trained elsewhere.
    """
    settings = settings_of(run)
    if isinstance(settings, ImportSettings):
        raise UserError(f"{settings.asked.folder} was trained elsewhere, on text that is not known here: name a text")
    if isinstance(settings, RunSettings):
        return run, settings
    return pretraining_of(open_run(settings.asked.base))
