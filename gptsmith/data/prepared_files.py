"""The files of a prepared folder, on a disk or in an object store: each is checked when it is first read."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.documents import Document
from gptsmith.base.errors import DataError, shown
from gptsmith.base.files import lies_below, read_table, sha256_of, write_atomically, writing
from gptsmith.base.hints import shell_command
from gptsmith.data.cache import Hold, mark_used, only_builder
from gptsmith.data.cache_contents import FOLDERS
from gptsmith.store.objects import NoObjectError, Store, is_remote

FORMAT_VERSION = 1
PREPARED = "prepared.json"
"""The manifest, which is written last: what lies in a folder without it is not prepared."""


class PreparedFile(Document):
    """What the manifest says of a file."""

    num_bytes: int
    sha256: str


class PreparedSettings(Document):
    """Settings by their groups."""

    data: dict[str, Any]
    tokenizer: dict[str, Any]


class PreparedManifest(Document):
    """The keys of the manifest that are relied on.

    Attributes:
        made_from: the key of the text and of the settings, by which the same preparation is known.
        settings: `data`, `tokenizer` and `train`, as run.toml has them.
        fingerprint: that of the text, its splits and its tokenizer.
        tokenizer: the tokenizer's fingerprint.
        files: the size in bytes and the SHA-256 of each file.
    """

    format_version: int
    made_from: str
    settings: PreparedSettings
    fingerprint: str
    tokenizer: str
    files: dict[str, PreparedFile]


def is_prepared(path: str | Path) -> bool:
    """Whether a path is a folder that `gptsmith prepare` wrote, or the URL of something, which can be nothing else."""
    with contextlib.suppress(OSError, ValueError):
        return is_remote(path) or (Path(path).expanduser() / PREPARED).is_file()
    return False


def holds_prepared(path: str | Path) -> bool:
    """Whether a path, or what lies at a URL, is a folder that `gptsmith prepare` wrote; a store is asked.

    Raises:
        StoreError: the store cannot be reached.
    """
    if not is_remote(path):
        return is_prepared(path)
    try:
        Store(path).read(PREPARED)
    except NoObjectError:
        return False
    return True


def require_prepared(url: str) -> None:
    """Checks that what lies at a URL is a folder that `gptsmith prepare` wrote.

    Raises:
        DataError: it is something else, or there is nothing.
        StoreError: the store cannot be reached, or is none that is known.
    """
    store = Store(url)
    if not holds_prepared(url):
        raise _not_prepared(store, url)


def _not_prepared(store: Store, place: str) -> DataError:
    """The error of a URL at which no prepared text lies."""
    if store.is_empty():
        return DataError(
            f"{place} holds no prepared text ({PREPARED} is missing): check the spelling, or prepare it "
            f"({shell_command('prepare', 'TEXT', '--out', place)})"
        )
    again = shell_command("prepare", "FOLDER", "--out", f"{store.scheme}://BUCKET/NAME")
    return DataError(
        f"{place} holds no prepared text ({PREPARED} is missing), and no other text is read at a URL: copy it to a "
        f"folder here and name that, or put it into the store prepared ({again})"
    )


class PreparedFiles:
    """The files of a prepared folder by name.

    Attributes:
        place: the folder, or its URL.
        manifest: the content of prepared.json.
        mirror: a folder in the cache for what belongs to this content: files that are fetched, and what is kept beside
            them.
    """

    def __init__(self, place: str | Path) -> None:
        """
        Raises:
            UserError: it is no prepared folder, its manifest is damaged or of a newer version, or a file of it is
                missing or of another size.
        """
        self.place = str(place)
        self._store = Store(self.place) if is_remote(place) else None
        folder = Path(place).expanduser()
        path = folder / PREPARED if self._store is None else self._fetched_manifest(self._store)
        table = read_table(path, with_names=True)
        self.manifest: dict[str, Any] = PreparedManifest.checked(table, f"{self.place}/{PREPARED}", DataError)
        if self.manifest["format_version"] > FORMAT_VERSION:
            raise DataError(
                f"{self.place} was prepared by a newer gptsmith (format {self.manifest['format_version']}; this one "
                f"reads {FORMAT_VERSION}): update gptsmith, or prepare the text with this version"
            )
        if odd := [name for name in self.manifest["files"] if not lies_below(name)]:
            raise DataError(f"{self.place}/{PREPARED} names {shown(odd[0])}, which is no file in it: do not use it")
        self.mirror = private_folder(default_cache() / FOLDERS["prepared"] / sha256_of(path)[:32])
        mark_used(self.mirror)
        self.hold = Hold(self.mirror)
        self._folder = folder if self._store is None else self.mirror
        self._checked: set[str] = set()
        if self._store is None:
            self._require_whole()

    def path(self, name: str) -> Path:
        """The path of a file, which is fetched if it lies in a store, and whose content is as it was prepared.

        Raises:
            DataError: it has changed, or is missing.
            StoreError: it cannot be fetched.
        """
        if name not in self.manifest["files"]:
            raise self._changed(name)
        path = self._folder / name
        if name in self._checked:
            return path
        if self._store is not None:
            self._fetch(self._store, name, path)
        elif self._is_changed(name, path):
            raise self._changed(name)
        self._checked.add(name)
        return path

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder, sorted."""
        return sorted(name for name in self.manifest["files"] if name.startswith(f"{folder}/"))

    def _fetch(self, store: Store, name: str, path: Path) -> None:
        """Fetches a file unless it is there as it should be. Of several processes one fetches it."""
        with writing(path):
            private_folder(path.parent)
            with only_builder(path):
                if not path.exists() or self._is_changed(name, path):
                    path.unlink(missing_ok=True)
                    store.download(name, path)
                    if self._is_changed(name, path):
                        path.unlink()
                        raise self._changed(name)

    def _is_changed(self, name: str, path: Path) -> bool:
        try:
            return sha256_of(path) != self.manifest["files"][name]["sha256"]
        except OSError:
            return True

    def _changed(self, name: str) -> DataError:
        again = shell_command("prepare", "TEXT", "--out", "PLACE")
        return DataError(
            f"{self.place}/{name} is not as it was prepared: bring it back, or prepare the text anew ({again})"
        )

    def _require_whole(self) -> None:
        for name, file in self.manifest["files"].items():
            try:
                is_whole = (self._folder / name).stat().st_size == file["num_bytes"]
            except OSError:
                is_whole = False
            if not is_whole:
                raise self._changed(name)

    def _fetched_manifest(self, store: Store) -> Path:
        """The manifest in a store, as a file under its hash."""
        try:
            content = store.read(PREPARED)
        except NoObjectError:
            raise _not_prepared(store, self.place) from None
        mirror = private_folder(default_cache() / FOLDERS["prepared"] / hashlib.sha256(content).hexdigest()[:32])
        path = mirror / PREPARED
        write_atomically(path, content)  # several processes read it at the same time
        return path
