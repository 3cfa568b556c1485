"""A studio that runs, and its page in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from gptsmith.serve.studio.request import StudioRequest
from gptsmith.serve.studio.running import StudioServer

from ...pages.browser import open_browser
from ..conftest import Answer, answer_of

expect.set_options(timeout=30_000)
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
PHONE = {"viewport": {"width": 360, "height": 720}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}


class Opened:
    """A studio that runs in a thread of this process."""

    def __init__(self, server: StudioServer) -> None:
        self.server = server
        self.address = server.address
        self.token = server.page.partition("#token=")[2]
        self.folder = server.studio.place.folder

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """The answer to a request with the token; a body that is not bytes is sent as JSON."""
        given = {"Authorization": f"Bearer {self.token if token is None else token}", **(headers or {})}
        return answer_of(urlsplit(self.address).port or 0, method, path, body, given)

    def get(self, path: str) -> Any:
        """What the studio's own API says."""
        answer = self.ask("GET", f"/studio/api/{path}")
        assert answer.status == 200, answer.data
        return answer.json

    def post(self, path: str, /, **body: Any) -> Any:
        """What the studio's own API does."""
        answer = self.ask("POST", f"/studio/api/{path}", body)
        assert answer.status == 200, answer.data
        return answer.json


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[Opened]:
    """A studio of a folder, while the block runs."""
    server = StudioServer(StudioRequest(folder=str(folder), port=0, device="cpu", no_open=True, **options))
    server.start()
    try:
        yield Opened(server)
    finally:
        server.close()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """An empty studio, which the tests of a file share."""
    with opened(tmp_path_factory.mktemp("studio")) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as found:
        yield found


class StudioPage:
    """A tab with a studio; what its console said is kept."""

    def __init__(self, browser: Any, studio: Opened, view: str = "", **options: Any) -> None:
        self.studio = studio
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en", **options})
        self.context.set_default_timeout(30_000)
        self.said: list[str] = []
        self.page = self.open(view)

    def open(self, view: str = "") -> Any:
        """One more tab."""
        page = self.context.new_page()
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.goto(self.studio.server.page)
        expect(page.locator(".view")).to_be_visible()
        if view:
            self.go(view, page)
        return page

    def go(self, view: str, page: Any = None) -> None:
        """Goes to a view, such as `runs/mine`."""
        (page or self.page).goto(f"{self.studio.address}/#/{view}")
        expect((page or self.page).locator(f'.view[data-view="{view.partition("/")[0]}"]')).to_be_visible()

    def button(self, name: str, within: Any = None) -> Any:
        return (within or self.page).get_by_role("button", name=name, exact=True)

    def axe(self, **options: Any) -> list[str]:
        """What axe-core finds wrong on the page as it is."""
        if self.page.evaluate("typeof axe") == "undefined":
            self.page.evaluate(AXE)
        found = self.page.evaluate("async (options) => (await axe.run(options)).violations", options)
        return [f"{one['id']}: {one['help']}: {node['html']}" for one in found for node in one["nodes"]]

    def violations(self) -> list[str]:
        """What axe-core finds wrong on the page as it is, and whether it is wider than the screen."""
        found = self.axe()
        wide = self.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        return found + ([f"{wide} pixels wider than the screen"] if wide > 0 else [])

    def close(self) -> None:
        self.context.close()
        assert self.said == []
