"""A server in a process of its own, for the scripts that measure one."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def server(run: str, *options: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A server on a free port, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gptsmith", "serve", run, "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True).start()
    try:
        while True:
            try:
                if asked(port, "GET", "/health")[0] == 200:
                    break
            except OSError:
                assert process.poll() is None, "the server does not start"
                time.sleep(0.1)
        yield port, process
    finally:
        process.terminate()
        process.wait(60)


def asked(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """The status and the body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def memory_mb(process: subprocess.Popen[str], field: str = "VmRSS") -> float:
    """The memory of a process now (VmRSS), or at most so far (VmHWM)."""
    with Path(f"/proc/{process.pid}/status").open(encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) / 1024
