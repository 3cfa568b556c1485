"""Stores to test with: in memory, and of a server that speaks S3."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from gptsmith.store.objects import Store
from tests.object_store import s3_server


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as url:
        yield url


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest, bucket: str) -> Store:
    name = uuid.uuid4().hex
    return Store(f"{bucket}/{name}" if request.param == "s3" else f"memory://{name}/runs")
