"""Weights that training does not change, such as those below adapters: one file of a run, for all of its checkpoints.

A checkpoint names the file, which lies beside it, by its SHA-256 in `frozen.json`. The run stays whole by itself: it
can be moved, copied, served and merged without the model that it was tuned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from gptsmith.base.errors import CheckpointError
from gptsmith.base.files import sha256_of, sync_file, sync_folder, writing
from gptsmith.base.leftovers import temporary_folder
from gptsmith.run.checkpoint import FROZEN_WEIGHTS, Checkpoint, list_checkpoints


def write_frozen(checkpoints: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Writes the frozen weights beside the checkpoints of a run, all or nothing. Returns the record for them.

    Raises:
        UserError: it cannot be written.
    """
    path = checkpoints / FROZEN_WEIGHTS
    with writing(path), temporary_folder(path, private=False) as folder:
        new = folder / FROZEN_WEIGHTS
        save_file(dict(tensors), new)
        sync_file(new)
        record = {"bytes": new.stat().st_size, "sha256": sha256_of(new)}
        new.replace(path)
    sync_folder(checkpoints)
    return record


def recorded_frozen(checkpoints: Path) -> dict[str, Any] | None:
    """The record in the newest checkpoint of a run; None if its frozen weights were not written."""
    newest = next(iter(list_checkpoints(checkpoints)), None)
    return None if newest is None else newest.frozen()


def verified_frozen_file(checkpoint: Checkpoint) -> Path | None:
    """The file of a checkpoint's frozen weights, after a look at its bytes; None if the checkpoint holds all weights.

    Raises:
        CheckpointError: the file is gone or has changed.
    """
    path, recorded = checkpoint.frozen_file(), checkpoint.frozen()
    if path is None or recorded is None:
        return None
    needed = f"{checkpoint.folder} holds adapters to the frozen weights in {path}"
    if not path.is_file():
        raise CheckpointError(f"{needed}, and that file is gone: bring it back, or tune anew")
    if path.stat().st_size != recorded["bytes"] or sha256_of(path) != recorded["sha256"]:
        raise CheckpointError(f"{needed}, and that file has changed since: bring the old one back, or tune anew")
    return path
