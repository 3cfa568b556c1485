"""A run's files and checkpoints, fetched from a store: whole ones only, and none twice. No torch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gptsmith.base.errors import CheckpointError
from gptsmith.base.files import lies_below, published_folder
from gptsmith.base.json_reader import parse_json
from gptsmith.run.checkpoint import CHECKPOINTS, MANIFEST, NAME, TRAIN_STATE, Checkpoint, list_checkpoints
from gptsmith.run.folder import best_first
from gptsmith.store.folders import download_folder
from gptsmith.store.objects import NoObjectError, Store

STEP = "{}/step-{:09d}"
"""The name of the folder of a checkpoint, from that of the checkpoints and its step."""


def fetch_files(store: Store, names: list[str], folder: Path) -> None:
    """Fetches the files of a run with these names, but for its checkpoints and what belongs to them."""
    for name in names:
        if not name.startswith(f"{CHECKPOINTS}/"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            store.download(name, path)


def steps_of(names: list[str]) -> list[int]:
    """The steps of the checkpoints with a manifest, newest first."""
    found = (NAME.fullmatch(name.split("/")[1]) for name in names if name.endswith(f"/{MANIFEST}"))
    return sorted((int(match[1]) for match in found if match), reverse=True)


def steps_by_loss(store: Store, names: list[str]) -> list[int]:
    """The steps of the checkpoints with a manifest, that of the lowest validation loss first."""
    with TemporaryDirectory() as folder:
        checkpoints = []
        for step in steps_of(names):
            one = Checkpoint(Path(folder) / f"step-{step:09d}", step)
            try:
                download_folder(store, STEP.format(CHECKPOINTS, step), one.folder, (MANIFEST, TRAIN_STATE))
            except NoObjectError:  # deleted just now, or torn
                continue
            checkpoints.append(one)
        return [one.step for one in best_first(checkpoints)]


def fetch_first(store: Store, steps: list[int], folder: Path, refuse: Callable[[int, str], None]) -> Checkpoint | None:
    """The first checkpoint that is whole in the store, fetched into the folder unless it is there; None if there is
    none.

    Args:
        refuse: gets the step and the fault of each that is not whole.

    Raises:
        CheckpointError: there are some, and none is whole.
    """
    for step in steps:
        checkpoint = Checkpoint(folder / CHECKPOINTS / f"step-{step:09d}", step)
        try:
            problem = fetch_checkpoint(store, checkpoint)
        except NoObjectError as error:
            problem = str(error)
        if problem is None:
            return checkpoint
        refuse(step, problem)
    if steps:
        raise CheckpointError(f"{store.url} has no checkpoint that can be read ({len(steps)} damaged)")
    return None


def fetch_checkpoint(store: Store, checkpoint: Checkpoint) -> str | None:
    """Fetches a checkpoint, and the frozen weights that it names, unless they are there; gives the fault of it, None if
    it is whole."""
    name = STEP.format(CHECKPOINTS, checkpoint.step)
    content = store.read(f"{name}/{MANIFEST}")
    local = checkpoint.folder / MANIFEST
    if local.exists() and local.read_bytes() == content and checkpoint.problem() is None:
        _fetch_frozen(store, checkpoint, [])
        return None
    try:
        files = list(parse_json(content.decode("utf-8"))["files"])
        if odd := [file for file in files if not isinstance(file, str) or "/" in file or not lies_below(file)]:
            return f"its manifest names {odd[0]!r}, which is no file in it"
    except (ValueError, TypeError, KeyError) as error:
        return f"its manifest is damaged ({type(error).__name__})"
    checkpoint.folder.parent.mkdir(parents=True, exist_ok=True)
    known = _known_frozen(checkpoint.folder.parent)
    try:
        with published_folder(checkpoint.folder, overwrite=True) as new:
            download_folder(store, name, new, files)
            (new / MANIFEST).write_bytes(content)
            if (problem := Checkpoint(new, checkpoint.step).problem()) is not None:
                raise _DamagedError(problem)
            _fetch_frozen(store, Checkpoint(new, checkpoint.step), known)
    except _DamagedError as error:
        return str(error)
    return None


def _known_frozen(checkpoints: Path) -> list[dict[str, Any]]:
    """The records of frozen weights in each of the checkpoints here."""
    found = []
    for checkpoint in list_checkpoints(checkpoints):
        with suppress(CheckpointError):  # damaged, and fetched anew
            found.append(checkpoint.frozen() or {})
    return found


def _fetch_frozen(store: Store, checkpoint: Checkpoint, known: list[dict[str, Any]]) -> None:
    """Fetches the frozen weights that a checkpoint names, unless they are there: those of `known` records that differ
    are those of another run, which was at the URL before."""
    for name, record in (checkpoint.frozen() or {}).items():
        path = checkpoint.folder.parent / name
        if not path.exists() or any(records.get(name, record) != record for records in known):
            store.download(f"{CHECKPOINTS}/{name}", path)


class _DamagedError(Exception):
    """What was fetched is not whole."""


def is_same(store: Store, names: list[str], checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint here is one in the store."""
    name = f"{STEP.format(CHECKPOINTS, checkpoint.step)}/{MANIFEST}"
    return name in names and (checkpoint.folder / MANIFEST).read_bytes() == store.read(name)
