"""moto's S3 server on loopback, for tests of object stores."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BUCKET = "smithy"


@contextmanager
def s3_server(patch: pytest.MonkeyPatch, bucket: str = BUCKET) -> Iterator[str]:
    """A server of its own with one bucket, found by the environment as any other would be; gives the bucket's URL."""
    from moto.server import ThreadedMotoServer
    from werkzeug.serving import WSGIRequestHandler

    patch.setattr(WSGIRequestHandler, "disable_nagle_algorithm", True)  # else a second packet waits for 40 ms
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "smith",
        "AWS_SECRET_ACCESS_KEY": "anvil",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    }.items():
        patch.setenv(name, value)
    try:
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST"), timeout=30).close()
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT"), timeout=30).close()
        yield f"s3://{bucket}"
    finally:
        server.stop()
