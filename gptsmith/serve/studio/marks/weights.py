"""The model that wrote an answer: its weights, and how its turns begin."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from gptsmith.base.errors import GptsmithError
from gptsmith.convert.open import open_model
from gptsmith.serve.load import Stamps, iso_time
from gptsmith.serve.served_models import ServedModels
from gptsmith.text.turn_markers import turn_markers


def weights_sha256(models: ServedModels, name: str, made: str | None) -> str | None:
    """The SHA-256 that tells the weights of a model; None if it is not served any more, or was saved anew since `made`,
    a time as the list of models has it."""
    entry = models.entries.get(name)
    if entry is None or made not in (None, iso_time(entry.about.made)):
        return None
    return _digest(entry.about.path, entry.about.stamps)


def markers_of(models: ServedModels, name: str) -> list[str]:
    """The words by which a model's chat template begins turns; none if it is not served any more."""
    entry = models.entries.get(name)
    if entry is None or entry.about.template is None:
        return []
    try:
        return sorted(turn_markers(entry.about.template, open_model(entry.about.path, by_hash=False).tokenizer()))
    except (GptsmithError, OSError):  # it has just gone
        return []


@lru_cache(maxsize=256)
def _digest(path: Path, _: Stamps) -> str | None:
    try:
        return open_model(path, by_hash=False).fingerprint
    except (GptsmithError, OSError):  # it has just gone
        return None
