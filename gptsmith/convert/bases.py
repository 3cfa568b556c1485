"""Where the base of adapters lies for other programs."""

from __future__ import annotations

from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.convert.adapters import fingerprint
from gptsmith.convert.huggingface import ModelFolder, is_model_folder
from gptsmith.convert.load import Loaded
from gptsmith.convert.state_dict import plain_weights
from gptsmith.model.gpt import GPT
from gptsmith.model.transform import without_adapters
from gptsmith.run.folder import Run


def base_folder_of(loaded: Loaded) -> Path | None:
    """The Hugging Face folder with what a run's adapters are laid over; nothing where there is none."""
    named = loaded.run.request().get("base")
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
    folder = Run.open(path).request().get("folder")
    return None if folder is None else Path(folder)
