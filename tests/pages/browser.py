"""A real browser for the tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first is the same engine without what a browser has around its pages: a page opens in a third of the time."""


def chromium() -> str:
    """The path of a chromium; a test that asks for one is skipped where there is none."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no chromium on this machine: apt-get install chromium-headless-shell")
    return path


@contextmanager
def open_browser() -> Iterator[Any]:
    """A browser without a window."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """A page that is open, what its console said, and what it asked for besides itself."""

    def __init__(self, browser: Any, address: str, *, dark: bool = False, width: int = 1280) -> None:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", has_touch=width < 500
        )
        self.page = context.new_page()
        self.console: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def series(self, title: str) -> int:
        """How many lines the chart of that title has."""
        return self.chart(title).locator("path.line").count()

    def chart(self, title: str) -> Any:
        return self.page.locator("figure").filter(has=self.page.get_by_role("heading", name=title, exact=True))

    def hover(self, title: str, share: float = 0.5) -> str:
        """What the chart says with the pointer at that share of its width."""
        box = self.chart(title).locator("svg").bounding_box()
        self.page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
        tip = self.chart(title).locator(".tip")
        tip.wait_for(state="visible")
        return str(tip.inner_text())
