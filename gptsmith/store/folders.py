"""Folders in a store, which has no renaming: the file that lists the others is written last, and deleted first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from gptsmith.store.objects import NoObjectError, Store


def upload_folder(store: Store, folder: Path, name: str, last: str, require: Callable[[], None]) -> bool:
    """Uploads the files of a folder, and `last`, which lists them, when all others are there. Gives whether anything
    was to be done: not where the same list is there already.

    Args:
        require: called before each file is written; raises if it may not be.

    Raises:
        StoreError: an object cannot be written.
        OSError: a file cannot be read.
    """
    content = (folder / last).read_bytes()
    try:
        if store.read(f"{name}/{last}") == content:
            return False
        require()
        store.delete(f"{name}/{last}")
    except NoObjectError:
        pass
    paths = {f"{name}/{path.name}": path for path in sorted(folder.iterdir()) if path.is_file() and path.name != last}
    for left in set(store.names(name)) - paths.keys():  # by an upload that did not come to its end
        store.delete(left)
    for file, path in paths.items():
        require()
        store.upload(path, file)
    require()
    store.write(f"{name}/{last}", content)
    return True


def download_folder(store: Store, name: str, folder: Path, files: Iterable[str]) -> None:
    """Downloads some of a folder's files; those of the URL itself if `name` is empty.

    Raises:
        NoObjectError: one is missing.
        StoreError: one cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        store.download(f"{name}/{file}".lstrip("/"), folder / file)


def delete_folder(store: Store, name: str, first: str) -> None:
    """Deletes a folder, and the file that lists the others first.

    Raises:
        StoreError: an object cannot be deleted.
    """
    store.delete(f"{name}/{first}")
    for found in store.names(name):
        store.delete(found)
