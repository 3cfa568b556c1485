"""Weights that training does not change, such as those below adapters: files of a run, for all of its checkpoints.

A checkpoint names them, which lie beside it, by their SHA-256 in `frozen.json`: one file, or one of each process that
holds a shard. The run stays whole by itself: it can be moved, copied, served and merged without the model that it was
tuned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gptsmith.base.errors import CheckpointError
from gptsmith.base.files import sha256_of, sync_file, sync_folder, writing
from gptsmith.base.leftovers import temporary_folder
from gptsmith.run.checkpoint import FROZEN_WEIGHTS, Checkpoint, file_record, list_checkpoints
from gptsmith.run.sharding import Part
from gptsmith.run.stored_tensors import save_tensors


def write_frozen(
    checkpoints: Path,
    tensors: Mapping[str, Tensor],
    name: str = FROZEN_WEIGHTS,
    parts: Mapping[str, Part] | None = None,
) -> dict[str, Any]:
    """Writes frozen weights beside the checkpoints of a run, all or nothing. Returns the file's record, by its name.

    Raises:
        UserError: it cannot be written.
    """
    path = checkpoints / name
    with writing(path), temporary_folder(path, private=False) as folder:
        new = folder / name
        save_tensors(new, tensors, parts)
        sync_file(new)
        record = file_record(new)
        new.replace(path)
    sync_folder(checkpoints)
    return {name: record}


def frozen_document(records: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint's frozen.json for the records of the files; a single one stands there alone."""
    return dict(records[FROZEN_WEIGHTS]) if records.keys() == {FROZEN_WEIGHTS} else {"files": dict(records)}


def recorded_frozen(checkpoints: Path) -> dict[str, Any] | None:
    """The records in the newest checkpoint of a run; None if its frozen weights were not written."""
    newest = next(iter(list_checkpoints(checkpoints)), None)
    return None if newest is None else newest.frozen()


def verified_frozen_files(checkpoint: Checkpoint) -> list[Path]:
    """The files of a checkpoint's frozen weights, after a look at their bytes; none if it holds all weights itself.

    Raises:
        CheckpointError: a file is gone or has changed.
    """
    records = checkpoint.frozen() or {}
    for path in checkpoint.frozen_files():
        needed, recorded = f"{checkpoint.folder} holds adapters to the frozen weights in {path}", records[path.name]
        if not path.is_file():
            raise CheckpointError(f"{needed}, and that file is gone: bring it back, or tune anew")
        if path.stat().st_size != recorded["bytes"] or sha256_of(path) != recorded["sha256"]:
            raise CheckpointError(f"{needed}, and that file has changed since: bring the old one back, or tune anew")
    return checkpoint.frozen_files()
