"""The page's modules in a real browser, served with the headers that the server sends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gptsmith.serve.middleware import HEADERS
from gptsmith.serve.static import FOLDER, KINDS

from ...pages.browser import open_browser
from ..conftest import Served, serving, until
from .chat_page import ChatPage

BLANK = b'<!doctype html><html lang="en"><title>blank</title><link rel="icon" href="data:,"><body></body></html>'


class BlankPage(BaseHTTPRequestHandler):
    """A page without anything in it, and the files of the chat page under /page/."""

    def do_GET(self) -> None:
        path = FOLDER / self.path.removeprefix("/page/")
        is_file = self.path.startswith("/page/") and path.name in {one.name for one in FOLDER.iterdir()}
        body = path.read_bytes() if is_file else BLANK
        self.send_response(200 if is_file or self.path == "/" else 404)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", KINDS[path.suffix] if is_file else KINDS[".html"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where the blank page is."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BlankPage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


class Blank:
    """The blank page in a profile of its own; what it asked for, said and opened is kept."""

    def __init__(self, browser: Any, address: str) -> None:
        self.context = browser.new_context()
        self.address = address
        self.requests: list[str] = []
        self.said: list[str] = []
        self.dialogs: list[str] = []
        self.page = self.open()

    def open(self) -> Any:
        """One more tab of this profile."""
        page = self.context.new_page()
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", self._dialog)
        page.goto(self.address)
        return page

    def run(self, script: str, argument: Any = None) -> Any:
        """What a function of JavaScript gives for `argument`."""
        return self.page.evaluate(script, argument)

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def close(self) -> None:
        """Ends it, once it has said nothing, opened nothing and asked for nothing from elsewhere."""
        self.context.close()
        assert self.said == []
        assert self.dialogs == []
        assert all(request.startswith(f"{self.address}/") for request in self.requests)


@pytest.fixture
def blank(browser: Any, address: str) -> Iterator[Blank]:
    """A page that a test may change."""
    opened = Blank(browser, address)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def tab(browser: Any, address: str) -> Iterator[Blank]:
    """One page for all tests of a module that leave nothing there."""
    opened = Blank(browser, address)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def servers(runs: Path) -> Iterator[Callable[[Sequence[str]], Served]]:
    """A server of some of the runs; there is one for each set of them."""
    with ExitStack() as stack:
        known: dict[tuple[str, ...], Served] = {}

        def server(names: Sequence[str]) -> Served:
            key = tuple(names)
            if key not in known:
                known[key] = stack.enter_context(serving([str(runs / name) for name in names]))
            return known[key]

        yield server


@pytest.fixture
def open_page(browser: Any, servers: Callable[[Sequence[str]], Served]) -> Iterator[Callable[..., ChatPage]]:
    """Opens the chat page of a server of some runs, in a profile of its own."""
    opened: list[ChatPage] = []

    def open_one(names: Sequence[str], **options: Any) -> ChatPage:
        opened.append(ChatPage(browser, servers(names), **options))
        return opened[-1]

    yield open_one
    for chat in opened:
        chat.close()
    for chat in opened:
        assert chat.errors == []
        until(chat.served.is_idle, "nothing that a page asked for is left")
