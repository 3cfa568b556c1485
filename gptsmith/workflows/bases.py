"""Where the base of adapters lies for other programs."""

from __future__ import annotations

from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.exchange.adapters import fingerprint
from gptsmith.exchange.huggingface import ModelFolder, is_model_folder
from gptsmith.exchange.names import plain_weights
from gptsmith.model.gpt import GPT
from gptsmith.model.surgery import without_adapters
from gptsmith.run.folder import Run
from gptsmith.workflows.load import Loaded
from gptsmith.workflows.settings import FinetuneSettings, ImportSettings, settings_of


def base_folder_of(loaded: Loaded) -> Path | None:
    """The Hugging Face folder with what a run's adapters are laid over; nothing where there is none."""
    settings = settings_of(loaded.run)
    named = settings.asked.base if isinstance(settings, FinetuneSettings | ImportSettings) else None
    return None if named is None else model_folder_of(named, without_adapters(loaded.model))


def model_folder_of(path: str | Path, model: GPT) -> Path | None:
    """The Hugging Face folder that a path is, or that the run there was imported from, if it still holds the weights of
    `model`; else nothing."""
    try:
        folder = Path(path) if is_model_folder(Path(path)) else _imported_from(Path(path))
        if folder is None or not is_model_folder(folder):
            return None
        held = fingerprint(dict(ModelFolder.open(folder).weights()))
    except UserError:
        return None
    return folder.resolve() if held == fingerprint(plain_weights(model)) else None


def _imported_from(path: Path) -> Path | None:
    settings = settings_of(Run.open(path))
    return Path(settings.asked.folder) if isinstance(settings, ImportSettings) else None
