"""Stores to test with: in memory, and of servers that speak as S3 and as Google do."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator

import pytest

from gptsmith.store.objects import Store
from tests.google_store import BUCKET, GoogleServer, google_server
from tests.object_store import s3_server


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as url:
        yield url


@pytest.fixture(scope="module")
def google() -> Iterator[GoogleServer]:
    with pytest.MonkeyPatch.context() as patch, google_server(patch) as server:
        yield server


@pytest.fixture
def silent_address() -> Iterator[str]:
    """An address that is bound, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(params=["memory", "s3", "gs"])
def store(request: pytest.FixtureRequest) -> Store:
    return new_store(request)


@pytest.fixture(params=["s3", "gs"])
def served(request: pytest.FixtureRequest) -> Store:
    """A store of a server."""
    return new_store(request)


def new_store(request: pytest.FixtureRequest) -> Store:
    """An empty store of the scheme that a test gets as its parameter."""
    name = uuid.uuid4().hex
    if request.param == "s3":
        return Store(f"{request.getfixturevalue('bucket')}/{name}")
    if request.param == "gs":
        request.getfixturevalue("google")
        return Store(f"gs://{BUCKET}/{name}")
    return Store(f"memory://{name}/runs")
