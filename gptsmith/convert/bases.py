"""The folder of an adapter's base, for other programs."""

from __future__ import annotations

from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.convert.adapters import fingerprint
from gptsmith.convert.huggingface import ModelFolder, is_model_folder
from gptsmith.convert.open import open_model
from gptsmith.convert.state_dict import plain_weights
from gptsmith.model.gpt import GPT


def model_folder_of(path: str | Path, model: GPT) -> Path | None:
    """The Hugging Face folder that a path is, or that the run there was imported from, if it still holds the weights of
    `model`; else None."""
    try:
        opened = open_model(path)
        named = opened.lineage()[-1].request.get("folder")
        folder = None if named is None else Path(opened.paths.located(named))
        if folder is None or not is_model_folder(folder):
            return None
        held = fingerprint(dict(ModelFolder.open(folder).weights()))
    except UserError:
        return None
    return folder.resolve() if held == fingerprint(plain_weights(model)) else None
