"""Every view of the studio, with runs, data, marks and an improvement: for axe-core in light, dark and on a phone,
and by keyboard alone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from .conftest import Opened, StudioPage, opened

NAME = "Briefe שלום 😀"
PAIR = {"number": 1, "prompt": [{"role": "user", "content": "A nail?"}], "first": "A **nail**.", "second": "No."}
RECIPE = {"objective": "kto", "lora": None, "num_examples": 12}
FIGURES = {"wins": 8, "losses": 1, "ties": 0, "p": 0.02}
IMPROVEMENT = {
    "id": "one", "run": "chat-improved", "model": "chat", "recipe": RECIPE, "num_judged": 9, "num_more": 3,
    "num_prompts": {"marks": 2, "examples": 3, "typed": 0}, "trouble": None, "training": None, "figures": FIGURES,
    "num_equal": 1, "is_default": True, "can_undo": True,
}  # fmt: skip
TRAINING = {"state": "running", "progress": {"fraction": 0.4, "words": "training", "seconds_left": 9}, "message": None}
FINDING = {
    "number": 0,
    "document": "0",
    "file": "a.txt",
    "line": 3,
    "of": None,
    "is_excluded": False,
    "is_edited": True,
}
KIND = {"kind": "email", "is_secret": True, "count": 1, "num_left": 1}
FINDINGS = {"state": "done", "is_old": True, "kinds": [KIND], "items": [FINDING], "num_items": 1}
FOCUSED = """() => {
  const one = document.activeElement;
  return one === document.body ? "" : one.ariaLabel || one.labels?.[0]?.innerText || one.innerText;
}"""
MOST_TABS = 60


@pytest.fixture(scope="module")
def full(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """A studio in which there is something of everything."""
    folder = tmp_path_factory.mktemp("full")
    for name in ("base", "chat"):
        shutil.copytree(runs / name, folder / "runs" / name)
    with opened(folder) as studio:
        texts = folder / "texts"
        texts.mkdir()
        (texts / "a.txt").write_text("The smith sings to smith@example.org.\n")
        (texts / "talk.jsonl").write_text(json.dumps({"prompt": "A nail?", "completion": "Here."}) + "\n")
        (texts / "picture.bin").write_bytes(b"\x00\x01" * 10)
        studio.post("data/make", name=NAME, path="texts")
        for number, verdict in enumerate(("up", "down", "up")):
            answers = [{"model": "chat", "text": "The smith forges. " * 40}]
            prompt = [{"role": "user", "content": "A nail?"}]
            studio.post(
                "marks", id=f"m{number}", kind="thumb", verdict=verdict, at_ms=1, prompt=prompt, answers=answers
            )
        yield studio


class Walk(StudioPage):
    """A person who goes through the views by keyboard."""

    def tab_to(self, name: str) -> None:
        """Presses Tab until the focus is on what has this name."""
        seen = []
        for _ in range(MOST_TABS):
            self.page.keyboard.press("Tab")
            seen.append(self.page.evaluate(FOCUSED).strip())
            if seen[-1] == name:
                return
        raise AssertionError(f"Tab does not reach {name!r}: {seen}")

    def check(self, what: str) -> None:
        """axe-core finds nothing: all of it in the dark on a phone, and the contrast in the light."""
        self.page.set_viewport_size({"width": 360, "height": 800})
        self.page.emulate_media(color_scheme="dark")
        assert self.violations() == [], what
        self.page.set_viewport_size({"width": 1280, "height": 900})
        self.page.emulate_media(color_scheme="light")
        assert self.axe(runOnly=["color-contrast"]) == [], what

    def asked(self, action: str, button: str, is_menu: bool = False) -> None:
        """Opens a dialog or a menu by keyboard; Escape closes it, and the focus is where it was."""
        self.tab_to(action)
        self.page.keyboard.press("Enter")
        expect(self.button(button)).to_be_visible()
        assert self.page.evaluate("document.activeElement.closest('[role=dialog], dialog') !== null")
        if is_menu:  # another size would close it
            assert self.violations() == [], action
        else:
            self.check(f"the dialog of {action}")
        self.page.keyboard.press("Escape")
        expect(self.page.locator("dialog, .beside")).to_have_count(0)
        assert self.page.evaluate(FOCUSED).strip() == action


@pytest.mark.story
def test_every_view_is_for_everybody(full: Opened, browser: Any) -> None:
    seen = Walk(browser, full)
    page = seen.page

    def answer(path: str, body: dict[str, Any]) -> None:
        page.route(f"**/studio/api/{path}", lambda route: route.fulfill(json=body))

    # Home, a run, two of them, and what is taken along.
    expect(page.locator(".run")).to_have_count(2)
    seen.check("home")
    seen.asked("What to do with base", "Train further", is_menu=True)
    seen.go("runs/chat")
    expect(page.get_by_role("heading", name="Events")).to_be_visible()
    page.get_by_text("Settings", exact=True).click()
    seen.check("a run")
    seen.tab_to("What to do with chat")
    seen.go("compared/base/chat")
    expect(page.locator("figure").first).to_be_visible()
    seen.check("compared")
    seen.go("take/chat")
    expect(page.get_by_text("None yet.")).to_be_visible()
    seen.check("take")
    seen.tab_to("Write")
    # Data: all of it, and one collection in all its parts.
    seen.go("data")
    expect(page.locator(".collections li")).to_have_count(1)
    seen.check("data")
    seen.asked("Paste text", "Add")
    seen.go(f"data/{NAME}")
    part = page.locator(".view > section.card").last
    expect(part.get_by_text("a.txt")).to_be_visible()
    seen.check("documents")
    seen.tab_to("Train on this")
    part.get_by_role("link", name="a.txt").press("Enter")
    expect(page.get_by_role("region", name="Source")).to_contain_text("The smith sings")
    seen.tab_to("Edit")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Edit the text")).to_be_focused()
    seen.check("the editor")
    seen.tab_to("Cancel")
    page.keyboard.press("Enter")
    answer("data/findings*", FINDINGS)
    for name, found in (("examples", "mark"), ("findings/email", ".badge"), ("changes", "h2"), ("files", "tbody tr")):
        seen.go(f"data/{NAME}/{name}")
        expect(part.locator(found).first).to_be_visible()
        seen.check(name)
    # Train.
    seen.go(f"train/{NAME}")
    expect(page.get_by_text("Looking for models")).to_be_hidden()
    page.get_by_text("Settings", exact=True).click()
    seen.check("train")
    page.get_by_text("Settings", exact=True).click()
    page.evaluate("document.activeElement.blur()")
    seen.tab_to("Start")
    # Talk, and the marks.
    page.goto(f"{full.address}/talk?model=chat")
    expect(page.locator(".welcome h1")).to_have_text("chat")
    expect(page.get_by_text("your marks in the studio's folder")).to_be_visible()
    seen.check("talk")
    seen.go("marks")
    expect(page.locator(".marks > li")).to_have_count(3)
    seen.check("marks")
    page.get_by_label("Kind").focus()
    page.get_by_label("Kind").select_option("thumb")
    expect(page).to_have_url(re.compile("marks/thumb"))
    expect(page.get_by_label("Kind")).to_be_focused()
    seen.asked("Delete all marks", "Delete for good")
    # An improvement while it is trained, judged and over.
    for state in ("training", "judging", "better"):
        one = {**IMPROVEMENT, "state": state, "pair": PAIR if state == "judging" else None}
        answer("improve/one", {**one, "training": TRAINING if state == "training" else None})
        answer("improve", {**full.get("improve"), "improvements": [one]})
        seen.go("improve")
        expect(page.get_by_role("row", name="chat-improved")).to_be_visible()
        page.get_by_role("link", name="chat-improved").press("Enter")
        expect(page.get_by_role("heading", name="chat-improved")).to_be_visible()
        expect(page.locator(".improve-body .card").first).to_be_visible()
        seen.check(state)
        if state == "judging":
            seen.tab_to("1\nFirst is better")
    page.get_by_role("link", name="All improvements").press("Enter")
    seen.check("improve")
    assert page.evaluate("document.activeElement.id") == "main", "a view that is entered has the focus"
    seen.close()
