"""A server on loopback that answers as Google Cloud Storage's JSON API does, as far as objects need it, for tests.

It keeps to https://cloud.google.com/storage/docs/json_api: media, multipart and resumable uploads, `ifGenerationMatch`,
ranges, listings by prefix and delimiter in pages. Requests are answered one by one, as Google decides each in one step.
"""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import itertools
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.answering import Answering

BUCKET = "smithy"
PAGE = 20
"""Results in a page of a listing: few, so that a test can have several pages."""
UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")
OBJECTS = re.compile(r"/storage/v1/b/([^/]+)/o")
OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)")


class RefusedError(Exception):
    """An answer with an error: the status and a message."""


class GoogleServer(ThreadingHTTPServer):
    """Buckets of objects: content and metadata by name.

    Attributes:
        requests: the method and path of each one so far.
        damages: how many of the next uploads arrive damaged.
        lost_answers: how many of the next uploads are done and then answered with 503.
        refused: the status that every request gets; 0 if they are answered.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets: dict[str, dict[str, tuple[bytes, dict[str, Any]]]] = {BUCKET: {}}
        self.uploads: dict[str, tuple[dict[str, str], bytearray]] = {}
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self.generations = itertools.count(1)
        self.damages = 0
        self.lost_answers = 0
        self.refused = 0

    def handle_error(self, *arguments: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client leaves, or is killed
            super().handle_error(*arguments)

    def bucket(self, name: str) -> dict[str, tuple[bytes, dict[str, Any]]]:
        if name not in self.buckets:
            raise RefusedError(404, "The specified bucket does not exist.")
        return self.buckets[name]

    def found(self, bucket: str, name: str) -> tuple[bytes, dict[str, Any]]:
        if name not in self.bucket(bucket):
            raise RefusedError(404, f"No such object: {bucket}/{name}")
        return self.bucket(bucket)[name]

    def insert(self, bucket: str, query: dict[str, str], name: str, content: bytes) -> dict[str, Any]:
        """Writes an object, under the condition of the request."""
        objects = self.bucket(bucket)
        if (wanted := query.get("ifGenerationMatch")) is not None:
            there = objects[name][1]["generation"] if name in objects else "0"
            if there != wanted:
                raise RefusedError(412, "At least one of the pre-conditions you specified did not hold.")
        if self.damages:
            self.damages -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        table = {"kind": "storage#object", "name": name, "bucket": bucket, "size": str(len(content))}
        table |= {"generation": str(next(self.generations)), "metageneration": "1", "updated": now, "timeCreated": now}
        table["md5Hash"] = base64.b64encode(hashlib.md5(content).digest()).decode()
        objects[name] = (content, table)
        if self.lost_answers:
            self.lost_answers -= 1
            raise RefusedError(503, "Backend Error")
        return table

    def listing(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        """A page of the names that begin with a prefix; those that go on after the delimiter are one prefix."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        found: dict[str, dict[str, Any] | None] = {}
        for name, (_, table) in sorted(self.bucket(bucket).items()):
            head, cut, _ = name.removeprefix(prefix).partition(delimiter) if delimiter else (name, "", "")
            if name.startswith(prefix):
                found[prefix + head + cut if cut else name] = None if cut else table
        start = int(query.get("pageToken", 0))
        end = start + min(PAGE, int(query.get("maxResults", PAGE)))
        page = list(found.items())[start:end]
        answer: dict[str, Any] = {"kind": "storage#objects", "items": [table for _, table in page if table is not None]}
        answer["prefixes"] = [name for name, table in page if table is None]
        return answer | ({"nextPageToken": str(end)} if end < len(found) else {})


class _Handler(Answering):
    server: GoogleServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else an answer's second packet waits for 40 ms

    def answer(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            self.server.requests.append((self.command, url.path))
            try:
                if self.server.refused:
                    raise RefusedError(self.server.refused, "smith@example.org does not have access")
                status, headers, content = self._answer(url.path, query, body)
            except RefusedError as error:
                status, message = error.args
                headers, content = {}, json.dumps({"error": {"code": status, "message": message}}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self.command == "DELETE" and "upload_id" in query:
            return 499, {}, b""  # as Google answers to an upload that is given up
        if self.command in ("POST", "PUT") and (match := UPLOAD.fullmatch(path)):
            return self._uploaded(unquote(match[1]), query, body)
        if self.command == "GET" and (match := OBJECTS.fullmatch(path)):
            return 200, {}, json.dumps(self.server.listing(unquote(match[1]), query)).encode()
        if match := OBJECT.fullmatch(path):
            bucket, name = unquote(match[1]), unquote(match[2])
            content, table = self.server.found(bucket, name)
            if self.command == "DELETE":
                del self.server.bucket(bucket)[name]
                return 204, {}, b""
            if self.command == "GET":
                return self._content(content) if query.get("alt") == "media" else (200, {}, json.dumps(table).encode())
        raise RefusedError(501, f"the tests' server does not know {self.command} {path}")

    def _content(self, content: bytes) -> tuple[int, dict[str, str], bytes]:
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span is None:
            return 200, {}, content
        first, last = int(span[1]), int(span[2] or len(content) - 1)
        part = content[first : last + 1]
        return 206, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"}, part

    def _uploaded(self, bucket: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if "upload_id" in query:
            return self._continued(bucket, query["upload_id"], body)
        if query["uploadType"] == "resumable":
            self.server.bucket(bucket)
            key = str(next(self.server.generations))
            self.server.uploads[key] = (query | {"name": json.loads(body)["name"]}, bytearray())
            host = f"http://127.0.0.1:{self.server.server_port}"
            return 200, {"Location": f"{host}{self.path}&upload_id={key}"}, b""
        name, content = query.get("name", ""), body
        if query["uploadType"] == "multipart":
            table, content = _parts(self.headers["Content-Type"], body)
            name = table["name"]
        return 200, {}, json.dumps(self.server.insert(bucket, query, name, content)).encode()

    def _continued(self, bucket: str, key: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """The next part of a resumable upload: the object is there when the last one is."""
        query, content = self.server.uploads[key]
        span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", self.headers["Content-Range"])
        assert span is not None
        content[int(span[1]) :] = body
        if len(content) < int(span[3]):
            return 308, {"Range": f"bytes=0-{len(content) - 1}"}, b""
        del self.server.uploads[key]
        return 200, {}, json.dumps(self.server.insert(bucket, query, query["name"], bytes(content))).encode()


def _parts(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """The metadata and the content of a multipart upload."""
    boundary = email.message_from_string(f"Content-Type: {content_type}", policy=email.policy.HTTP).get_boundary()
    table, content = body.split(f"--{boundary}\n".encode(), 2)[1:]
    end = f"\n--{boundary}--".encode()
    return json.loads(table.split(b"\n\n", 1)[1]), content.split(b"\n\n", 1)[1].removesuffix(end)


@contextmanager
def google_server(patch: pytest.MonkeyPatch) -> Iterator[GoogleServer]:
    """A server of its own with the bucket BUCKET, found by the environment as any other would be."""
    with GoogleServer() as server:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
