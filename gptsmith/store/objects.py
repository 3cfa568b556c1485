"""The objects below a URL of an object store, read and written whole."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from gptsmith.base.errors import MissingExtraError, UserError, one_line, shown
from gptsmith.base.leftovers import temporary_path

SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
REQUIREMENTS = {"s3": "gptsmith[store]", "gs": "gcsfs", "memory": "fsspec"}
"""The stores that are known, by the scheme of their URLs, and what to install for each."""
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"max_concurrency": 2, "config_kwargs": {"connect_timeout": 10, "retries": {"max_attempts": 3}}}
}
TALKATIVE = ("botocore", "aiobotocore")
"""Libraries that log where credentials were found, each time."""
NUM_TRIES = 5
"""How often an object is created of which the store says that another request for it is under way."""
CREDENTIALS = "check the access key and secret (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or ~/.aws) and what they allow"
CONNECTION = "check the network and the endpoint (AWS_ENDPOINT_URL), and try again"


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
        if self.scheme not in REQUIREMENTS:
            known = ", ".join(f"{scheme}://" for scheme in REQUIREMENTS)
            raise StoreError(f"{shown(str(url))} is in no store that is known: give a URL of {known}")
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
                    code = _code(error)
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
                found = self._files.find(self._path(under))
            except FileNotFoundError as error:
                if _code(error) == "NoSuchBucket":
                    raise
                return []
        return sorted(str(path).strip("/").removeprefix(self._root).strip("/") for path in found)

    def folders(self) -> list[str]:
        """The names of the folders that the URL holds itself, sorted.

        Raises:
            StoreError: the store cannot be listed, or has no such bucket.
        """
        with self._errors(""):
            try:
                found = self._files.ls(self._root, detail=True)
            except FileNotFoundError as error:
                if _code(error) == "NoSuchBucket":
                    raise
                return []
        return sorted(str(one["name"]).rstrip("/").rsplit("/", 1)[-1] for one in found if one["type"] == "directory")

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
            self._files.put_file(str(path), self._path(name))

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
        """The file system of fsspec: a new one, because a cached one keeps its endpoint and its listings."""
        import fsspec

        try:
            cls = fsspec.get_filesystem_class(self.scheme)
        except ImportError:
            raise MissingExtraError(f"{self.scheme}://", REQUIREMENTS[self.scheme]) from None
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        options = OPTIONS.get(self.scheme, {})
        return cls(**options, skip_instance_cache=True, use_listings_cache=False)

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
        code, kinds = _code(error), {cls.__name__ for one in _chain(error) for cls in type(one).__mro__}
        bucket = self._root.split("/", 1)[0]
        if code == "NoSuchBucket":
            return NoObjectError(f"{url}: there is no bucket {bucket}: make it, or check its name")
        if isinstance(error, FileNotFoundError):
            return NoObjectError(f"{url}: there is no such object")
        if kinds & {
            "NoCredentialsError",
            "PartialCredentialsError",
            "DefaultCredentialsError",
            "CredentialRetrievalError",
        }:
            return StoreError(f"{url}: there are no credentials for the store: {CREDENTIALS}")
        if isinstance(error, PermissionError) or code in ("401", "403"):
            return StoreError(f"{url}: the store refuses ({one_line(error)}): {CREDENTIALS}")
        if kinds & {"ConnectionError", "TimeoutError", "ConnectionClosedError", "HTTPClientError", "FSTimeoutError"}:
            return StoreError(f"{url}: the store does not answer ({one_line(error)}): {CONNECTION}")
        return StoreError(f"{url}: the store fails ({type(error).__name__}: {one_line(error)}): try again later")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it was made of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _code(error: BaseException) -> str:
    """The code of a store's answer, such as `NoSuchBucket`, or its HTTP status; nothing if there was none."""
    for one in _chain(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict) and isinstance(response.get("Error"), dict):
            return str(response["Error"].get("Code", ""))
        if isinstance(code := getattr(one, "code", None), int | str):
            return str(code)
    return ""
