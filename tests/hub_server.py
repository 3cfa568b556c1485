"""A small server on loopback that speaks as much of the Hugging Face Hub as fetching and pushing models take."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants
import pytest

LARGE = (".safetensors", ".gguf")
"""The files that the Hub keeps with Git LFS, under their SHA-256."""
SLOW_BYTES, SLOW_S = 1 << 16, 0.1


@dataclass
class Repository:
    """A model on the server: the files of each commit, the last of which is `main`."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    is_gated: bool = False
    is_private: bool = False

    def commit(self, files: dict[str, bytes]) -> str:
        """Its name, of 40 digits."""
        name = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[name] = files
        return name

    def named(self, revision: str) -> str | None:
        if revision == "main":
            return next(reversed(self.commits), None)
        return self.tags.get(revision, revision) if self.tags.get(revision, revision) in self.commits else None


class Hub(ThreadingHTTPServer):
    """The server. What it is told to do wrong, it does to each file once, or all the time (`is_slow`, `changes`)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.tokens = {"good": "smith"}
        self.breaks_after: dict[str, int] = {}
        """The number of bytes of a file after which its connection is closed, once."""
        self.changes: dict[str, bytes] = {}
        """Content that is sent instead of a file's."""
        self.is_slow = False
        self.requests: list[tuple[str, str, str | None]] = []
        """Method, path and range of what was asked."""
        self.uploads: dict[str, bytes] = {}
        """The large files that were sent, by their SHA-256."""
        self.breaks_uploads = 0
        """The number of uploads that still fail."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, folder: Path) -> str:
        """The files of a folder as a new commit of a model."""
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        return self.repositories.setdefault(name, Repository()).commit(files)

    def downloads(self) -> Counter[str]:
        """How often the content of each file was asked for."""
        return Counter(Path(path).name for method, path, _ in self.requests if method == "GET" and "/resolve/" in path)


@contextmanager
def hub_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running server; the library, and processes that are started, ask it instead of the real one."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


def described(name: str, content: bytes) -> dict[str, Any]:
    """A file as the Hub describes it."""
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    found: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": oid}
    if name.endswith(LARGE):
        sha256 = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": sha256, "sha256": sha256, "size": len(content), "pointerSize": 134}
    return found


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        """The bytes of a large file."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(("PUT", self.path, None))
        if self.server.breaks_uploads > 0:
            self.server.breaks_uploads -= 1
            return self._json(400, {"error": "the upload broke off"})
        self.server.uploads[Path(self.path).name] = content
        return self._json(200, {})

    def do_POST(self) -> None:
        """What the library asks for to push: a model, which files are large, where to send them, the commit."""
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(("POST", path, None))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        owner, parts = self._owner(), path.strip("/").split("/")
        if owner is None:
            return self._json(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            return self._create(owner, json.loads(body))
        if path == "/api/validate-yaml":
            return self._json(200, {"errors": [], "warnings": []})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._json(
                200, {"transfer": "basic", "objects": [self._place(one) for one in json.loads(body)["objects"]]}
            )
        name = "/".join(parts[2:4])
        if parts[4] == "preupload":
            modes = [{"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                      "shouldIgnore": False} for file in json.loads(body)["files"]]  # fmt: skip
            return self._json(200, {"files": modes})
        return self._commit(name, [json.loads(line) for line in body.splitlines()])

    def _create(self, owner: str, wanted: dict[str, Any]) -> None:
        name = f"{wanted.get('organization') or owner}/{wanted['name']}"
        if name in self.server.repositories:
            return self._json(409, {"error": "it is there already", "url": f"{self.server.address}/{name}"})
        self.server.repositories[name] = Repository(is_private=wanted["visibility"] == "private")
        return self._json(200, {"url": f"{self.server.address}/{name}"})

    def _place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Where a large file is sent; nowhere if it is here."""
        is_known = wanted["oid"] in self.server.uploads
        actions = {} if is_known else {"actions": {"upload": {"href": f"{self.server.address}/lfs/{wanted['oid']}"}}}
        return {"oid": wanted["oid"], "size": wanted["size"], **actions}

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        repository = self.server.repositories[name]
        files = dict(repository.commits[list(repository.commits)[-1]]) if repository.commits else {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.uploads[value["oid"]]
        commit = repository.commit(files)
        url = f"{self.server.address}/{name}/commit/{commit}"
        self._json(200, {"commitOid": commit, "commitUrl": url, "success": True})

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path, self.headers.get("Range")))
        parts = path.strip("/").split("/")
        if path == "/api/whoami-v2":
            owner = self._owner()
            return self._json(200, {"name": owner}) if owner else self._json(401, {"error": "Invalid token."})
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            name, (what, revision) = "/".join(parts[2:4]), (*parts[4:6], "revision", "main")[:2]
        elif len(parts) >= 5 and parts[2] == "resolve":
            name, what, revision = "/".join(parts[:2]), "resolve", parts[3]
        else:
            return self._json(404, {"error": "not found"})
        repository = self.server.repositories.get(name)
        if repository is None:
            return self._json(401, {"error": "Invalid username or password."}, {"X-Error-Code": "RepoNotFound"})
        commit = repository.named(revision)
        if commit is None:
            return self._json(404, {"error": f"Invalid rev id: {revision}"}, {"X-Error-Code": "RevisionNotFound"})
        if what == "resolve":
            if repository.is_gated and not self._owner():
                return self._json(401, {"error": "Access is restricted."}, {"X-Error-Code": "GatedRepo"})
            return self._file(commit, "/".join(parts[4:]), repository.commits[commit])
        files = [described(one, content) for one, content in repository.commits[commit].items()]
        if what == "tree":
            return self._json(200, files)
        siblings = [{"rfilename": one["path"], "size": one["size"], "blobId": one["oid"], "lfs": one.get("lfs")}
                    for one in files]  # fmt: skip
        return self._json(200, {"id": name, "modelId": name, "sha": commit, "siblings": siblings})

    def _owner(self) -> str | None:
        return self.server.tokens.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))

    def _file(self, commit: str, name: str, files: dict[str, bytes]) -> None:
        if name not in files:
            return self._json(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        about, content = described(name, files[name]), self.server.changes.get(name, files[name])
        etag = about["lfs"]["oid"] if "lfs" in about else about["oid"]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "X-Linked-Etag": f'"{etag}"',
                   "X-Linked-Size": str(len(content)), "Content-Length": str(len(content) - start),
                   "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}  # fmt: skip
        for key, value in headers.items():
            if start or key != "Content-Range":
                self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if (breaks_after := self.server.breaks_after.pop(name, None)) is not None:
            self.wfile.write(content[start:breaks_after])
            self.close_connection = True
            return
        while start < len(content):
            num_bytes = SLOW_BYTES if self.server.is_slow else len(content)
            try:
                self.wfile.write(content[start : start + num_bytes])
            except OSError:  # whoever asked is gone
                self.close_connection = True
                return
            start += num_bytes
            if self.server.is_slow:
                time.sleep(SLOW_S)

    def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for key, text in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(key, text)
        if status >= 400:
            self.send_header("X-Error-Message", value["error"])
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
