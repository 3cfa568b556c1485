"""Behind a proxy, as people set one up: nginx with its default Host, with the name alone, below another address, and
with connections that it keeps."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

from gptsmith.serve.static import FOLDER

from .conftest import Served, serving, until

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
NAME = "smith.example"
BODY = json.dumps({"model": "base", "prompt": "a", "max_tokens": 2})
SITUATIONS = {
    "default": "location / {{ proxy_pass http://127.0.0.1:{port}; }}",
    "name": "location / {{ proxy_pass http://127.0.0.1:{port}; proxy_set_header Host $host; }}",
    "below": "location /gpt/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_set_header Host $http_host; }}",
    "kept": (
        'location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection ""; '
        "proxy_set_header Host $http_host; }}"
    ),
}
CONFIGURATION = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  upstream server {{ server 127.0.0.1:{port}; keepalive 4; }}
  {servers}
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def behind(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, dict[str, int]]]:
    """A server that was given the name of its proxy, and the port of each situation."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    ports = {name: free_port() for name in SITUATIONS}
    with serving([str(runs / "base")], hosts=(NAME,), keep_alive_s=60) as served:
        servers = "\n".join(
            f"server {{ listen 127.0.0.1:{ports[name]}; {location.format(port=served.port)} }}"
            for name, location in SITUATIONS.items()
        )
        path = folder / "nginx.conf"
        path.write_text(CONFIGURATION.format(folder=folder, port=served.port, servers=servers))
        with subprocess.Popen([NGINX, "-p", str(folder), "-e", str(folder / "errors"), "-c", str(path)]) as process:
            try:
                until(lambda: all(map(is_open, ports.values())), "nginx listens")
                yield served, ports
            finally:
                process.terminate()


def is_open(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def asked(port: int, method: str, path: str, body: str | None = None, origin: str | None = None) -> tuple[int, bytes]:
    """The status and body of an answer; the browser knows the proxy as NAME."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Host": f"{NAME}:{port}", "Content-Type": "application/json"}
    try:
        connection.request(method, path, body, headers | ({} if origin is None else {"Origin": origin}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_page_comes_whole_and_may_ask(behind: tuple[Served, dict[str, int]], situation: str) -> None:
    port, path = behind[1][situation], "/gpt/" if situation == "below" else "/"
    origin = f"http://{NAME}:{port}"
    status, page = asked(port, "GET", path)
    assert status == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.decode())
    assert len(links) >= 4
    for link in links:
        address = urljoin(f"{origin}{path}", link)
        assert asked(port, "GET", urlsplit(address).path)[0] == 200, address
    # As server.js has it: one step up from its own address.
    base = urlsplit(urljoin(f"{origin}{path}page/server.js", "..")).path
    assert asked(port, "GET", f"{base}v1/models", origin=origin)[0] == 200
    assert asked(port, "POST", f"{base}v1/completions", BODY, origin)[0] == 200
    status, answer = asked(port, "POST", f"{base}v1/completions", BODY, "http://elsewhere.example")
    assert status == 403
    assert b"--allow-host" in answer


def test_the_page_has_no_address_from_the_root() -> None:
    """Below another address that leads elsewhere."""
    for path in (path for path in FOLDER.rglob("*") if path.suffix in (".js", ".html", ".css")):
        found = re.findall(r"""(?:fetch\(|ask\(|import\(|from |src=|href=|url\()\s*["'`]/[^"'`]*""", path.read_text())
        assert not found, path.name


TWO_SERVERS = """
upstream both {{
  hash $affinity consistent;
  server 127.0.0.1:{first} max_fails=1 fail_timeout=30s; server 127.0.0.1:{second} max_fails=1 fail_timeout=30s;
}}
map $http_x_prefix_affinity $affinity {{ "" $request_id; default $http_x_prefix_affinity; }}
server {{
  listen 127.0.0.1:{port};
  location / {{
    proxy_pass http://both; proxy_set_header Host $host; proxy_next_upstream error timeout http_503 non_idempotent;
  }}
}}
"""


def test_no_request_is_lost_when_one_of_two_servers_is_drained(runs: Path, tmp_path: Path) -> None:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    port, path = free_port(), tmp_path / "nginx.conf"
    with serving([str(runs / "base")], hosts=(NAME,)) as first, serving([str(runs / "base")], hosts=(NAME,)) as second:
        both = TWO_SERVERS.format(first=first.port, second=second.port, port=port)
        path.write_text(CONFIGURATION.format(folder=tmp_path, port=first.port, servers=both))
        with subprocess.Popen([NGINX, "-p", str(tmp_path), "-e", str(tmp_path / "errors"), "-c", str(path)]) as process:
            try:
                until(lambda: is_open(port), "nginx listens")
                with ThreadPoolExecutor(6) as clients:
                    answers = [clients.submit(asked, port, "POST", "/v1/completions", BODY) for _ in range(60)]
                    until(lambda: sum(answer.done() for answer in answers) >= 12, "some are answered")
                    first.running.drain()
                    assert [answer.result()[0] for answer in answers] == [200] * 60
                until(lambda: first.running.should_exit, "it ends when it has answered")
                assert asked(port, "GET", "/ready")[0] == 200
            finally:
                process.terminate()


@pytest.mark.parametrize("keep_alive_s", [0.05, 60.0])
def test_idle_connections_are_kept_as_long_as_was_said(runs: Path, keep_alive_s: float) -> None:
    with serving([str(runs / "base")], keep_alive_s=keep_alive_s) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        connection.request("GET", "/health")
        assert connection.getresponse().read()
        assert connection.sock
        if keep_alive_s < 1:
            assert connection.sock.recv(1) == b""  # it closes by itself
        else:
            time.sleep(0.2)
            connection.request("GET", "/health")
            assert connection.getresponse().status == 200
        connection.close()
