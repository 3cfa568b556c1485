"""The stores that are known, by the schemes of their URLs: how each is opened, and what its refusals mean."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

from gptsmith.base.errors import MissingExtraError

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60


class Scheme:
    """A store in memory, gone with its process; the others differ from it.

    Attributes:
        name: the start of its URLs.
        requirement: what to install for it.
        credentials: what to do where it refuses.
        connection: what to do where it does not answer.
    """

    name = "memory"
    requirement = "fsspec"
    credentials = "check what is allowed"
    connection = "try again"

    def open(self) -> Any:
        """A file system of fsspec: a new one, because a cached one keeps its endpoint and its listings.

        Raises:
            MissingExtraError: the library for it is not installed.
        """
        try:
            return self._opened()
        except ImportError:
            raise MissingExtraError(f"{self.name}://", self.requirement) from None

    def upload(self, files: Any, path: str, name: str) -> None:
        """Writes an object with the content of a file, which the store has checked on its arrival."""
        files.put_file(path, name)

    def is_without_bucket(self, files: Any, bucket: str, error: Exception) -> bool:
        """Whether something is missing because there is no such bucket."""
        return False

    def code(self, error: BaseException) -> str:
        """The code of a store's answer, such as `PreconditionFailed`, or its HTTP status; nothing if there was none."""
        for one in chain(error):
            response = getattr(one, "response", None)
            if isinstance(response, dict) and isinstance(response.get("Error"), dict):
                return str(response["Error"].get("Code", ""))
            for name in ("status", "code"):  # aiohttp has both, and warns of the second
                if isinstance(code := getattr(one, name, None), int | str):
                    return str(code)
        return ""

    def _opened(self) -> Any:
        from fsspec.implementations.memory import MemoryFileSystem

        return MemoryFileSystem(skip_instance_cache=True, use_listings_cache=False)


class S3(Scheme):
    """S3, and what speaks as it does."""

    name = "s3"
    requirement = "gptsmith[store]"
    credentials = (
        "check the access key and secret (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or ~/.aws) and what they allow"
    )
    connection = "check the network and the endpoint (AWS_ENDPOINT_URL), and try again"

    def is_without_bucket(self, files: Any, bucket: str, error: Exception) -> bool:
        return self.code(error) == "NoSuchBucket"

    def _opened(self) -> Any:
        from s3fs import S3FileSystem

        for name in ("botocore", "aiobotocore"):  # they log where credentials were found, each time
            logging.getLogger(name).setLevel(logging.WARNING)
        return S3FileSystem(
            max_concurrency=2,
            config_kwargs={"connect_timeout": CONNECT_TIMEOUT_S, "retries": {"max_attempts": 3}},
            skip_instance_cache=True,
            use_listings_cache=False,
        )


class Google(Scheme):
    """Google Cloud Storage."""

    name = "gs"
    requirement = "gptsmith[gs]"
    credentials = (
        "name a key in GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login, and check what "
        "they allow"
    )
    connection = "check the network, and try again"

    def upload(self, files: Any, path: str, name: str) -> None:
        files.put_file(path, name, consistency="md5")

    def is_without_bucket(self, files: Any, bucket: str, error: Exception) -> bool:
        """Google's answers to a missing bucket and to a missing object are one error of gcsfs: the bucket is asked."""
        try:
            files.call("GET", "b/{}/o", bucket, maxResults=1)
        except FileNotFoundError:
            return True
        except Exception:  # it is there, or says no more
            return False
        return False

    def code(self, error: BaseException) -> str:
        if any(isinstance(one, OSError) and str(one).startswith("Forbidden") for one in chain(error)):
            return "403"
        return super().code(error)

    def _opened(self) -> Any:
        from aiohttp import ClientTimeout
        from gcsfs.core import GCSFileSystem  # the one that the package names calls Google by gRPC for each bucket

        for name in ("gcsfs", "google.auth"):  # they log what they raise
            logging.getLogger(name).setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=r"google\.auth")  # of accounts without a project
        warnings.filterwarnings("ignore", "Sending a large body", ResourceWarning)  # gcsfs has it in memory anyway
        return GCSFileSystem(
            # without credentials it would else ask for none, be refused, and not say why
            access="read_write",
            token="anon" if os.environ.get("STORAGE_EMULATOR_HOST") else "google_default",
            requests_timeout=ClientTimeout(sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S),
            skip_instance_cache=True,
            use_listings_cache=False,
        )


SCHEMES: dict[str, Scheme] = {one.name: one for one in (S3(), Google(), Scheme())}
"""The stores that are known. Each creates an object only where there is none, in one step."""
OTHER_NAMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it was made of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
