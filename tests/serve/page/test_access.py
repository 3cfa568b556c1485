"""The page for everybody: keyboard alone, axe-core, a phone, light and dark, and nothing from outside."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from ..conftest import slowed
from .chat_page import ChatPage

OpenPage = Callable[..., ChatPage]
PHONE = {"viewport": {"width": 360, "height": 720}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def violations(chat: ChatPage) -> list[str]:
    """What axe-core finds wrong on the page as it is."""
    chat.page.evaluate(AXE)
    found = chat.page.evaluate("async () => (await axe.run()).violations")
    return [f"{one['id']}: {one['help']}: {node['html']}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize(("size", "scheme"), [({}, "light"), (PHONE, "dark")], ids=["wide-light", "phone-dark"])
def test_axe_finds_nothing_wrong_in_any_state(open_page: OpenPage, scheme: str, size: dict[str, Any]) -> None:
    chat = open_page(names=["chat", "base"], color_scheme=scheme, **size)
    expect(chat.page.locator(".welcome")).to_be_visible()
    assert violations(chat) == []
    chat.set_number("Maximum tokens", 30)
    assert violations(chat) == []
    chat.button("Close the settings").click()
    chat.ask("5: a nail?")
    chat.button("Regenerate").click()
    chat.ended()
    assert violations(chat) == []
    chat.page.locator("#shade").click()
    chat.page.locator(".token").first.click()
    assert violations(chat) == []
    chat.page.keyboard.press("Escape")
    if size:
        chat.button("Conversations").click()
    chat.button("More for 5: a nail?").click()
    assert violations(chat) == []
    chat.button("Rename").click()
    assert violations(chat) == []
    chat.page.keyboard.press("Escape")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_in_a_text(open_page: OpenPage, scheme: str) -> None:
    chat = open_page(names=["base"], color_scheme=scheme)
    chat.set_number("Maximum tokens", 20)
    chat.ask("The old smith")
    chat.send.click()
    chat.ended()
    assert violations(chat) == []
    chat.button("Edit, regenerate or see versions", chat.asked).click()
    assert violations(chat) == []


def tab_to(chat: ChatPage, name: str, back: bool = False) -> None:
    """Presses Tab until the focus is on what has this name."""
    for _ in range(80):
        chat.page.keyboard.press("Shift+Tab" if back else "Tab")
        label = chat.page.evaluate(
            """() => {
              const { ariaLabel, labels, textContent } = document.activeElement;
              return (ariaLabel ?? labels?.[0]?.firstChild.textContent ?? textContent).trim();
            }"""
        )
        if label == name:
            return
    raise AssertionError(f"Tab never comes to {name}")


def test_a_keyboard_alone_is_enough(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    expect(chat.words).to_be_focused()
    keys = chat.page.keyboard
    tab_to(chat, "Settings", back=True)
    keys.press("Enter")
    tab_to(chat, "Maximum tokens")
    keys.type("12")
    tab_to(chat, "Close the settings", back=True)
    keys.press("Enter")
    expect(chat.page.locator("#panel")).to_be_hidden()
    expect(chat.page.locator("#open-panel")).to_be_focused()
    tab_to(chat, "Message")
    keys.type("5: a nail?")
    keys.press("Enter")
    chat.answer()
    tab_to(chat, "Regenerate", back=True)
    keys.press("Enter")
    chat.answer()
    expect(chat.page.locator(".branches")).to_have_text("2 / 2")
    tab_to(chat, "Previous version", back=True)
    keys.press("Enter")
    expect(chat.page.locator(".branches")).to_have_text("1 / 2")
    expect(chat.button("Next version")).to_be_focused()
    tab_to(chat, "More for 5: a nail?", back=True)
    keys.press("Enter")
    keys.press("Enter")
    keys.type("Iron")
    keys.press("Enter")
    expect(chat.page.locator(".conversation .title")).to_have_text("Iron")
    keys.press("Control+k")
    expect(chat.page.get_by_label("Search conversations")).to_be_focused()


def test_the_answer_is_read_out_at_its_end_and_not_before(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 300)
    chat.set_number("Seed", 7)
    with slowed(chat.served.state.models.loaded["chat"].engine):
        chat.say("5: a nail?")
        chat.writing()
        assert chat.page.locator("#spoken").text_content() == ""
        assert chat.answers.last.get_attribute("aria-busy") == "true"
    chat.ended()
    node = next(one for one in chat.conversation()["nodes"].values() if one["role"] == "assistant")
    expect(chat.page.locator("#spoken")).to_have_text(node["text"], use_inner_text=False)
    assert chat.answers.last.get_attribute("aria-busy") == "false"
    assert chat.page.locator("#thread[aria-live], #thread [aria-live]").count() == 0


def test_a_phone_has_everything_and_nothing_is_wider_than_it(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"], **PHONE)

    def fits() -> bool:
        return bool(chat.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"))

    assert fits()
    chat.set_number("Maximum tokens", 40)
    assert fits()
    chat.page.locator("#veil").click(position={"x": 5, "y": 300})
    expect(chat.page.locator("#panel")).to_be_hidden()
    chat.ask("5: a nail?" + " and a long word " + "x" * 200)
    assert fits()
    chat.button("Conversations").tap()
    expect(chat.page.locator(".conversation")).to_be_visible()
    chat.page.locator(".conversation").tap()
    expect(chat.page.locator("#sidebar")).not_to_be_in_viewport()
    chat.page.locator("#shade").tap()
    chat.page.locator(".token").first.tap()
    box = chat.page.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    assert fits()


def test_colours_follow_the_system_or_the_person(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"], color_scheme="dark")

    def paper() -> str:
        return str(chat.page.evaluate("() => getComputedStyle(document.body).backgroundColor"))

    assert paper() == "rgb(21, 23, 27)"
    chat.button("Settings").click()
    chat.page.get_by_label("Colours").select_option("light")
    assert paper() == "rgb(251, 250, 247)"
    chat.page.reload()
    assert paper() == "rgb(251, 250, 247)"


def test_nothing_is_asked_for_elsewhere_and_no_policy_is_broken(open_page: OpenPage, tmp_path: Path) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 20)
    chat.ask("![picture](https://elsewhere.example/x.png) <img src=https://elsewhere.example/y.png>")
    chat.button("Probabilities").click()
    chat.page.locator(".token").first.click()
    assert {one.url.split("/")[2] for one in chat.requests} == {f"127.0.0.1:{chat.served.port}"}
    assert chat.said == []
