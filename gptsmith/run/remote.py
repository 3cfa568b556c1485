"""Runs at the URLs of object stores: brought here to be opened, and to be trained. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.console import note
from gptsmith.base.errors import CheckpointError
from gptsmith.base.files import lies_below, published_folder, read_table, remove_folder, write_json
from gptsmith.base.json_reader import parse_json
from gptsmith.base.leftovers import remove
from gptsmith.data.cache import key_of, mark_used, only_builder
from gptsmith.data.cache_contents import FOLDERS
from gptsmith.run.checkpoint import (
    CHECKPOINTS,
    MANIFEST,
    NAME,
    TRAIN_STATE,
    Checkpoint,
    list_checkpoints,
)
from gptsmith.run.folder import RESULT, SETTINGS, STORED, best_first
from gptsmith.run.mirror import BAD_MANIFEST, Mirror, has_ended
from gptsmith.store.folders import download_folder
from gptsmith.store.lock import LOCKS, StoreLock
from gptsmith.store.objects import NoObjectError, Store, StoreError, is_remote

WORKING = "stored_runs"
"""The folder in the cache of runs that are trained here. It is no cache: what is not uploaded yet is only there."""
STEP = "{}/step-{:09d}"


def from_store(path: str | Path) -> Path | None:
    """The folder here of a run in a store, fetched: its files, and its best checkpoint that is whole. None of a path
    that is no URL. What is there already is not fetched again.

    Raises:
        CheckpointError: there is no such run, or none of its checkpoints is whole.
        StoreError: the store cannot be read.
    """
    if not is_remote(path):
        return None
    store = Store(path)
    target = place_here(FOLDERS["stored"], store)
    try:
        names = _names(store)
    except StoreError as error:
        if isinstance(error, NoObjectError) or not (target / SETTINGS).exists():
            raise
        note(f"{error}. This is {store.url} as it was fetched before", "yellow")
        return target
    with only_builder(private_folder(target.parent)):
        private_folder(target)
        fetch_files(store, names, target)
        if _fetch_first(store, _by_loss(store, names), target, partial(_skip, store)) is None:
            raise CheckpointError(f"{store.url} has no checkpoint yet")
        for checkpoint in list_checkpoints(target / CHECKPOINTS):
            if not _is_same(store, names, checkpoint):
                remove_folder(checkpoint.folder)
        mark_used(target.parent)
    return target


def fetch_summaries(url: str | Path, folder: Path) -> None:
    """Fetches into folders of their names what the runs at a URL tell of themselves: settings, result, and the state at
    the newest checkpoint of a run that has not ended.

    Raises:
        StoreError: the store cannot be read.
    """
    store = Store(url)
    for name in store.folders():
        one, target = store.at(name), folder / name
        try:
            download_folder(one, "", target, [SETTINGS])
        except NoObjectError:
            remove(target)
            continue
        with suppress(NoObjectError):
            download_folder(one, "", target, [RESULT])
            continue
        with suppress(NoObjectError):
            for step in _steps(one.names(CHECKPOINTS))[:1]:
                path = STEP.format(CHECKPOINTS, step)
                download_folder(one, path, target / path, [MANIFEST, TRAIN_STATE])


@contextmanager
def trained_for_store(url: str | Path, *, is_new: bool = True) -> Iterator[Path]:
    """The folder here in which a run at a URL is trained, while this process is the only one that writes there. What
    the store holds of it is fetched first, and what becomes durable is uploaded.

    Args:
        is_new: whether there may be no such run yet.

    Raises:
        LockedError: somebody else trains it.
        CheckpointError: there is something else at the URL, or none of the run's checkpoints is whole.
        StoreError: the store cannot be read or written, or the rest could not be uploaded.
    """
    store = Store(url)
    _names(store, is_new_allowed=is_new)  # before anything is written there
    folder, lock = place_here(WORKING, store), StoreLock(store)
    with lock.held() as last:
        # Where nobody else has written since, nothing may fail before the new number is noted: what was not uploaded
        # yet would be taken for what another machine has replaced.
        good = {} if _number(folder) == last else _bring(store, folder)
        write_json(folder / STORED, {"url": store.url, "number": lock.number})
        mirror = Mirror(folder, store, lock, good)
        try:
            with mirror.running():
                yield folder
        finally:
            if mirror.is_whole and has_ended(folder):
                _become_opened(folder, store)


def waits_for_upload(url: str | Path) -> Path | None:
    """The folder here of a run that has ended, and of which the end could not be uploaded; None if there is none."""
    folder = place_here(WORKING, Store(url))
    return folder if has_ended(folder) else None


def place_here(name: str, store: Store) -> Path:
    """The folder of a run in a store, in a folder of the cache."""
    return default_cache() / name / key_of(store.url) / (store.url.rsplit("/", 1)[-1].strip(".") or "run")


def _number(folder: Path) -> int | None:
    """The number of the lock that the last writer of a folder here had; None if nobody wrote there."""
    return read_table(folder / STORED).get("number") if (folder / STORED).exists() else None


def _bring(store: Store, folder: Path) -> dict[int, bytes]:
    """Makes the folder here what the store holds. Gives the manifests of the checkpoints in the store that were found
    whole, by their steps."""
    private_folder(folder.parent)
    names = _names(store, is_new_allowed=True)
    if folder.exists():
        if list_checkpoints(folder / CHECKPOINTS) or (folder / RESULT).exists():
            note(f"{store.url} was written from elsewhere since: it is fetched anew", "yellow")
        remove(folder)
    good: dict[int, bytes] = {}
    if not names:
        private_folder(folder)
        return good
    with published_folder(folder, private=True) as new:
        fetch_files(store, names, new)
        newest = _fetch_first(store, _steps(names), new, partial(_set_aside, store))
        if newest is not None:
            good[newest.step] = (newest.folder / MANIFEST).read_bytes()
            best = newest.train_state().best_step
            if best is not None and best != newest.step and best in _steps(names):
                with suppress(CheckpointError):  # damaged, and set aside
                    _fetch_first(store, [best], new, partial(_set_aside, store))
    return good


def _set_aside(store: Store, step: int, problem: str) -> None:
    """Takes a checkpoint in the store out of the row: its manifest gets another name, and nothing of it is deleted."""
    name = STEP.format(CHECKPOINTS, step)
    note(f"step-{step:09d} of {store.url} is set aside: {problem}", "yellow")
    store.write(f"{name}/{BAD_MANIFEST}", store.read(f"{name}/{MANIFEST}"))
    store.delete(f"{name}/{MANIFEST}")


def _skip(store: Store, step: int, problem: str) -> None:
    note(f"step-{step:09d} of {store.url} is skipped: {problem}", "yellow")


def _names(store: Store, *, is_new_allowed: bool = False) -> list[str]:
    """The names of a run's objects, without the locks; none of a new run.

    Raises:
        CheckpointError: there is no run.
    """
    names = [name for name in store.names() if not name.startswith(f"{LOCKS}/")]
    if odd := [name for name in names if not lies_below(name)]:
        raise CheckpointError(f"{store.url} holds {odd[0]!r}, which is no name of a file: delete it")
    if SETTINGS in names:
        return names
    if names:
        raise CheckpointError(f"{store.url} is no run: it holds no {SETTINGS}")
    if not is_new_allowed:
        raise CheckpointError(f"{store.url}: there is no such run")
    return []


def fetch_files(store: Store, names: list[str], folder: Path) -> None:
    """Fetches the files of a run with these names, but for its checkpoints and what belongs to them."""
    for name in names:
        if not name.startswith(f"{CHECKPOINTS}/"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            store.download(name, path)


def _steps(names: list[str]) -> list[int]:
    """The steps of the checkpoints with a manifest, newest first."""
    found = (NAME.fullmatch(name.split("/")[1]) for name in names if name.endswith(f"/{MANIFEST}"))
    return sorted((int(match[1]) for match in found if match), reverse=True)


def _by_loss(store: Store, names: list[str]) -> list[int]:
    """The steps of the checkpoints with a manifest, that of the lowest validation loss first."""
    with TemporaryDirectory() as folder:
        checkpoints = []
        for step in _steps(names):
            one = Checkpoint(Path(folder) / f"step-{step:09d}", step)
            try:
                download_folder(store, STEP.format(CHECKPOINTS, step), one.folder, (MANIFEST, TRAIN_STATE))
            except NoObjectError:  # deleted just now, or torn
                continue
            checkpoints.append(one)
        return [one.step for one in best_first(checkpoints)]


def _fetch_first(store: Store, steps: list[int], folder: Path, refuse: Callable[[int, str], None]) -> Checkpoint | None:
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


def _is_same(store: Store, names: list[str], checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint here is one in the store."""
    name = f"{STEP.format(CHECKPOINTS, checkpoint.step)}/{MANIFEST}"
    return name in names and (checkpoint.folder / MANIFEST).read_bytes() == store.read(name)


def _become_opened(folder: Path, store: Store) -> None:
    """Makes the folder in which a run was trained the one that is opened from now on."""
    target = place_here(FOLDERS["stored"], store)
    with only_builder(private_folder(target.parent)):
        (folder / STORED).unlink(missing_ok=True)
        remove(target)
        folder.replace(target)
