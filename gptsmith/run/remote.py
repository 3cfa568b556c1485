"""Runs at the URLs of object stores: brought here to be opened, and to be trained. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.console import note
from gptsmith.base.errors import CheckpointError
from gptsmith.base.files import lies_below, published_folder, read_table, remove_folder, write_json
from gptsmith.base.leftovers import remove
from gptsmith.data.cache import key_of, mark_used, only_builder
from gptsmith.data.cache_contents import FOLDERS
from gptsmith.run.checkpoint import (
    CHECKPOINTS,
    MANIFEST,
    TRAIN_STATE,
    list_checkpoints,
)
from gptsmith.run.fetch import (
    STEP,
    fetch_files,
    fetch_first,
    is_same,
    steps_by_loss,
    steps_of,
)
from gptsmith.run.folder import RESULT, SETTINGS, STORED
from gptsmith.run.mirror import BAD_MANIFEST, Mirror, has_ended
from gptsmith.store.folders import download_folder
from gptsmith.store.lock import LOCKS, StoreLock
from gptsmith.store.objects import NoObjectError, Store, StoreError, is_remote

WORKING = "stored_runs"
"""The folder in the cache of runs that are trained here. It is no cache: what is not uploaded yet is only there."""


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
        if fetch_first(store, steps_by_loss(store, names), target, partial(_skip, store)) is None:
            raise CheckpointError(f"{store.url} has no checkpoint yet")
        for checkpoint in list_checkpoints(target / CHECKPOINTS):
            if not is_same(store, names, checkpoint):
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
            for step in steps_of(one.names(CHECKPOINTS))[:1]:
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
        newest = fetch_first(store, steps_of(names), new, partial(_set_aside, store))
        if newest is not None:
            good[newest.step] = (newest.folder / MANIFEST).read_bytes()
            best = newest.train_state().best_step
            if best is not None and best != newest.step and best in steps_of(names):
                with suppress(CheckpointError):  # damaged, and set aside
                    fetch_first(store, [best], new, partial(_set_aside, store))
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


def _become_opened(folder: Path, store: Store) -> None:
    """Makes the folder in which a run was trained the one that is opened from now on."""
    target = place_here(FOLDERS["stored"], store)
    with only_builder(private_folder(target.parent)):
        (folder / STORED).unlink(missing_ok=True)
        remove(target)
        folder.replace(target)
