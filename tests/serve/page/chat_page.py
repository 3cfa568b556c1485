"""The chat page in a browser, as a person uses it."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import expect

from ..conftest import Served

expect.set_options(timeout=30_000)
ANSWERS = ".message.assistant, .part.assistant"


class ChatPage:
    """A tab with the page of a server; what its console said and what it asked for is kept."""

    def __init__(self, browser: Any, served: Served, *, path: str = "/", **options: Any) -> None:
        self.served = served
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.context.set_default_timeout(30_000)
        self.has_touch = bool(options.get("has_touch"))
        self.said: list[str] = []
        self.errors: list[str] = []
        self.requests: list[Any] = []
        self.page = self.open(path)

    def open(self, path: str = "/") -> Any:
        """One more tab."""
        page = self.context.new_page()
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request))
        page.goto(f"{self.served.address}{path}")
        return page

    def close(self) -> None:
        self.context.close()

    @property
    def words(self) -> Any:
        """Where a person writes."""
        return self.page.locator("#words")

    @property
    def send(self) -> Any:
        return self.page.locator("#send")

    @property
    def answers(self) -> Any:
        return self.page.locator(ANSWERS)

    @property
    def asked(self) -> Any:
        return self.page.locator(".message.user, .part.user")

    def button(self, name: str, within: Any = None) -> Any:
        return (within or self.page).get_by_role("button", name=name, exact=True)

    def say(self, text: str) -> None:
        """Writes words and sends them."""
        self.words.fill(text)
        if self.has_touch:
            self.send.tap()
        else:
            self.words.press("Enter")

    def ask(self, text: str) -> str:
        """Sends words and waits for the whole answer."""
        before = self.answers.count()
        self.say(text)
        self._becomes("([answers, before]) => document.querySelectorAll(answers).length > before", [ANSWERS, before])
        return self.answer()

    def answer(self) -> str:
        """The last answer, once it is whole."""
        self.ended()
        return str(self.answers.last.locator(".words").inner_text())

    def ended(self) -> None:
        """Waits until nothing is written any more."""
        self._becomes("() => !document.querySelector('#send').classList.contains('is-stop')")

    def writing(self) -> None:
        """Waits until something is being written, and there is some of it."""
        self._becomes(
            """(answers) => document.querySelector("#send").classList.contains("is-stop")
              && [...document.querySelectorAll(answers)].at(-1)?.querySelector(".words").textContent""",
            ANSWERS,
        )

    def _becomes(self, condition: str, argument: Any = None) -> None:
        """Waits until a function of JavaScript gives what is true; it is looked at in every frame."""
        self.page.wait_for_function(condition, arg=argument)

    def later(self, milliseconds: float) -> None:
        """Lets the page's timers believe that so much time has passed; the clock must have been installed before."""
        self.page.clock.fast_forward(milliseconds)

    def set_number(self, label: str, value: float | str) -> None:
        """Opens the panel, if need be, and sets a number."""
        if self.page.locator("#panel").is_hidden():
            self.button("Settings").click()
        self.page.get_by_label(label, exact=True).fill(str(value))

    def bodies(self) -> list[dict[str, Any]]:
        """What was sent to be written."""
        paths = ("/v1/chat/completions", "/v1/completions")
        return [json.loads(one.post_data) for one in self.requests if one.url.endswith(paths)]

    def conversations(self) -> list[dict[str, Any]]:
        """What the browser keeps."""
        found: list[dict[str, Any]] = self.page.evaluate(
            """async () => {
              const { openStore } = await import("/page/store.js");
              const store = await openStore();
              return Promise.all((await store.list()).map(({ id }) => store.get(id)));
            }"""
        )
        return found

    def conversation(self) -> dict[str, Any]:
        """The one conversation that the browser keeps."""
        (one,) = self.conversations()
        return one

    def slow_down(self, path: str) -> None:
        """Answers of the server at this path come when `let_go` is called."""
        self.page.evaluate(
            """(path) => {
              const { fetch } = window;
              const gate = new Promise((resolve) => { window.letGo = resolve; });
              window.fetch = async (address, options) => {
                const left = new Promise((_, reject) => options?.signal?.addEventListener("abort", reject));
                if (new URL(address, location.href).pathname === path) await Promise.race([gate, left]);
                return fetch(address, options);
              };
            }""",
            path,
        )

    def let_go(self) -> None:
        self.page.evaluate("() => window.letGo()")
