"""The objects below a URL of an object store, read and written whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError, one_line, shown
from gptsmith.base.leftovers import temporary_path
from gptsmith.store.schemes import OTHER_NAMES, SCHEMES, chain

SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
NUM_TRIES = 5
"""How often an object is created of which the store says that another request for it is under way."""

WITHOUT_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "DefaultCredentialsError",
}
UNANSWERED = {
    "ConnectionError",
    "TimeoutError",
    "ConnectionClosedError",
    "HTTPClientError",
    "FSTimeoutError",
    "ClientConnectionError",
    "TransportError",
}
"""Errors of the stores' libraries, which are not imported here, by their names."""


class StoreError(UserError):
    """An object store cannot be reached, refuses, or does not hold what was asked for."""


class NoObjectError(StoreError):
    """There is no such object, or no such bucket."""


def is_remote(path: object) -> bool:
    """Whether a path is the URL of something in a store, such as `s3://bucket/mine`. Nothing is asked of a network."""
    return SCHEME.match(str(path)) is not None


class Store:
    """The objects below a URL. Their names are relative to it, with `/` between their parts.

    Credentials and endpoint come from the environment, as other programs of the store read them.

    Attributes:
        url: the URL, without a `/` at its end.
    """

    def __init__(self, url: str | Path) -> None:
        """
        Raises:
            StoreError: it is no URL of a store that is known, or names no bucket.
        """
        self.url = str(url).rstrip("/")
        match = SCHEME.match(str(url))
        self.scheme = match[1].lower() if match else ""
        if self.scheme not in SCHEMES:
            raise StoreError(_refusal(str(url), self.scheme))
        self._kind = SCHEMES[self.scheme]
        self._root = self.url[len(self.scheme) + 3 :].strip("/")
        if not self._root:
            raise StoreError(f"{self.url}// names no bucket: write {self.scheme}://BUCKET/NAME")

    def read(self, name: str) -> bytes:
        """An object's content.

        Raises:
            NoObjectError: there is none.
            StoreError: it cannot be read.
        """
        with self._errors(name):
            return bytes(self._files.cat_file(self._path(name)))

    def write(self, name: str, content: bytes) -> None:
        """Writes an object; one that is there gives way.

        Raises:
            StoreError: it cannot be written.
        """
        with self._errors(name):
            self._files.pipe_file(self._path(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Writes an object only if there is none of this name, which the store decides in one step.

        Returns:
            whether it did.

        Raises:
            StoreError: it cannot be written.
        """
        for last in (*[False] * (NUM_TRIES - 1), True):
            with self._errors(name):
                try:
                    self._files.pipe_file(self._path(name), content, mode="create")
                    return True
                except FileExistsError:
                    return False
                except OSError as error:
                    code = self._kind.code(error)
                    if code in ("PreconditionFailed", "412"):
                        return False
                    if code not in ("ConditionalRequestConflict", "409") or last:
                        raise
        raise AssertionError("the last try ends it")

    def names(self, under: str = "") -> list[str]:
        """The names of all objects in a folder and the folders in it, sorted; none if there is no such folder.

        Raises:
            StoreError: the store cannot be listed, or has no such bucket.
        """
        with self._errors(under):
            try:
                found = [str(path) for path in self._files.find(self._path(under))]
            except FileNotFoundError as error:
                if self._is_without_bucket(error):
                    raise
                return []
        files = (path for path in found if not path.endswith("/"))  # others are the marks of empty folders
        names = (path.strip("/").removeprefix(self._root).strip("/") for path in files)
        return sorted(name for name in names if name)

    def is_empty(self) -> bool:
        """Whether there is nothing at the URL, and nothing below it.

        Raises:
            StoreError: the store cannot be opened.
        """
        with self._errors(""):
            return not self._files.exists(self._root)

    def folders(self) -> list[str]:
        """The names of the folders that the URL holds itself, sorted.

        Raises:
            StoreError: the store cannot be listed, or has no such bucket.
        """
        with self._errors(""):
            try:
                found = self._files.ls(self._root, detail=True)
            except FileNotFoundError as error:
                if self._is_without_bucket(error):
                    raise
                return []
        paths = {str(one["name"]).strip("/") for one in found if one["type"] == "directory"} - {self._root}
        return sorted(path.rsplit("/", 1)[-1] for path in paths)

    def delete(self, name: str) -> None:
        """Deletes an object, if it is there.

        Raises:
            StoreError: it cannot be deleted.
        """
        with self._errors(name):
            try:
                self._files.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def upload(self, path: Path, name: str) -> None:
        """Writes an object with the content of a file.

        Raises:
            StoreError: it cannot be written.
            OSError: the file cannot be read.
        """
        path.stat()
        with self._errors(name):
            self._kind.upload(self._files, str(path), self._path(name))

    def download(self, name: str, path: Path) -> None:
        """Writes a file with an object's content: the file is whole or not there.

        Raises:
            NoObjectError: there is no such object.
            StoreError: it cannot be read.
        """
        temporary = temporary_path(path)
        try:
            with self._errors(name):
                self._files.get_file(self._path(name), str(temporary))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def modified_s(self, name: str) -> float:
        """When an object was written, by the store's clock, in seconds since 1970.

        Raises:
            NoObjectError: there is none.
            StoreError: the store does not say.
        """
        with self._errors(name):
            return float(self._files.modified(self._path(name)).timestamp())

    def at(self, name: str) -> Store:
        """The store at the URL of one of its folders."""
        return type(self)(f"{self.url}/{name}")

    @cached_property
    def _files(self) -> Any:
        """The file system of fsspec."""
        return self._kind.open()

    def _is_without_bucket(self, error: Exception) -> bool:
        missing = isinstance(error, FileNotFoundError)
        return missing and self._kind.is_without_bucket(self._files, self._bucket, error)

    @property
    def _bucket(self) -> str:
        return self._root.split("/", 1)[0]

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """Turns what goes wrong in other people's libraries into a line for a person."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise self._error(f"{self.url}/{name}".rstrip("/"), error) from None

    def _error(self, url: str, error: Exception) -> StoreError:
        code, kinds = self._kind.code(error), {cls.__name__ for one in chain(error) for cls in type(one).__mro__}
        if self._is_without_bucket(error):
            return NoObjectError(f"{url}: there is no bucket {self._bucket}: make it, or check its name")
        if isinstance(error, FileNotFoundError) or code == "404":
            return NoObjectError(f"{url}: there is no such object")
        if kinds & WITHOUT_CREDENTIALS:
            why = one_line(error, 120)
            return StoreError(f"{url}: there are no credentials for the store ({why}): {self._kind.credentials}")
        if isinstance(error, PermissionError) or code in ("401", "403"):
            return StoreError(f"{url}: the store refuses ({one_line(error)}): {self._kind.credentials}")
        if kinds & UNANSWERED:
            return StoreError(f"{url}: the store does not answer ({one_line(error)}): {self._kind.connection}")
        return StoreError(f"{url}: the store fails ({type(error).__name__}: {one_line(error)}): try again later")


def _refusal(url: str, scheme: str) -> str:
    """The error of a URL that is in no store that is known."""
    known = " or ".join(f"{name}://" for name in SCHEMES if name != "memory")
    if scheme in ("http", "https"):
        return (
            f"{shown(url)} is on the web, where nothing is read or written: download it first and give its path, or "
            f"give a URL of {known}"
        )
    if scheme in ("file", "local"):
        return f"{shown(url)} is a path here: write it without {scheme}://"
    if scheme in OTHER_NAMES:
        return f"{shown(url)} is in no store that is known: write {OTHER_NAMES[scheme]}://"
    return f"{shown(url)} is in no store that is known: give a URL of {known}"
