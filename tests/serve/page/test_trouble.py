"""What a person is told when something goes wrong, and that nothing of theirs is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from gptsmith.serve.auth import ApiKeys
from gptsmith.serve.errors import RETRY_AFTER_S

from ..conftest import serving, slowed, until
from .chat_page import ChatPage

OpenPage = Callable[..., ChatPage]
KEY = "a-key-of-enough-letters"
LOOK_EVERY_MS = 3000
"""That of the page: how often it looks for a server that is gone."""


def bias_a_token(chat: ChatPage) -> None:
    """Sets a bias, whose tokens the page looks up before each answer."""
    panel = chat.page.locator("#panel")
    panel.get_by_label("Logit bias").fill("The=1")
    panel.get_by_label("Logit bias").blur()
    until(lambda: "bias" in chat.conversation()["settings"], "the bias is set")


def test_a_server_that_is_gone_is_said_and_found_again(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 5)
    chat.page.clock.install()
    chat.context.set_offline(True)
    chat.say("5: a nail?")
    expect(chat.answers).to_contain_text("The server does not answer. Is gptsmith serve still running?")
    expect(chat.asked.locator(".words")).to_have_text("5: a nail?")
    chat.context.set_offline(False)
    chat.later(LOOK_EVERY_MS)
    expect(chat.page.get_by_text("The server is back.")).to_be_visible()
    chat.button("Try again").click()
    assert chat.answer()
    expect(chat.answers.locator(".notice")).to_have_count(0)


def test_a_page_that_is_opened_while_the_server_is_away_waits_for_it(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 5)
    chat.ask("5: a nail?")
    chat.page.clock.install()
    chat.page.route("**/v1/models", lambda route: route.abort())
    chat.page.route("**/ready", lambda route: route.abort())
    chat.page.reload()
    notice = chat.page.locator("#notices .notice")
    expect(notice).to_contain_text("The server does not answer.")
    expect(chat.page.locator(".conversation")).to_have_count(1)
    chat.words.fill("half a sent")
    chat.words.press("Enter")
    chat.button("New conversation").first.click()
    chat.page.unroute_all()
    chat.later(LOOK_EVERY_MS)
    expect(notice).to_have_count(0)
    expect(chat.asked.locator(".words")).to_have_text("5: a nail?")
    assert len(chat.bodies()) == 1


def test_an_answer_that_cannot_be_read_ends_what_is_being_written(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 5)
    chat.ask("5: a nail?")
    bias_a_token(chat)
    chat.page.route("**/tokenize", lambda route: route.fulfill(body="<html>", content_type="text/html"))
    chat.say("5: a nail?")
    expect(chat.answers.last).to_contain_text("The response of the server cannot be read.")
    chat.ended()


def test_stop_ends_what_comes_before_the_writing_too(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 5)
    chat.ask("5: a nail?")
    bias_a_token(chat)
    chat.slow_down("/tokenize")
    chat.say("5: a nail?")
    expect(chat.send).to_have_text("Stop")
    chat.send.click()
    chat.ended()
    expect(chat.answers.last).to_contain_text("Stopped.")
    assert len(chat.bodies()) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("settings", "not json"),
        ("settings", "null"),
        ("settings", '{"stop": "x", "temperature": "hot", "bias": {"a": 1}, "format": {"type": "odd"}, "more": 1}'),
        ("unsaved-x", "not json"),
        ("unsaved-x", "{}"),
        ("theme", "odd"),
        ("model", "none of these"),
    ],
)
def test_junk_that_the_browser_keeps_is_passed_over(open_page: OpenPage, name: str, text: str) -> None:
    chat = open_page(names=["chat"])
    chat.page.evaluate("([name, text]) => localStorage.setItem(`gptsmith-${name}`, text)", [name, text])
    chat.page.reload()
    expect(chat.page.locator(".welcome")).to_be_visible()
    chat.set_number("Maximum tokens", 5)
    assert chat.ask("5: a nail?")
    (body,) = chat.bodies()
    assert not {"stop", "temperature", "logit_bias", "response_format"} & body.keys()


def test_a_browser_that_keeps_not_even_small_things_is_enough(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.context.add_init_script(
        """for (const name of ["localStorage", "sessionStorage", "indexedDB"]) {
          Object.defineProperty(window, name, { get() { throw new DOMException("no", "SecurityError"); } });
        }"""
    )
    chat.page.reload()
    expect(chat.page.locator(".welcome")).to_be_visible()
    chat.set_number("Maximum tokens", 5)
    assert chat.ask("5: a nail?")


def test_a_model_that_is_not_served_any_more_is_said_and_another_goes_on(open_page: OpenPage) -> None:
    chat = open_page(names=["chat", "base", "adapted"])
    chat.set_number("Maximum tokens", 5)
    chat.page.get_by_label("Model", exact=True).select_option("adapted")
    chat.ask("5: a nail?")
    cards = chat.served.ask("GET", "/v1/models").json

    def without(*names: str) -> None:
        left = [card for card in cards["data"] if card["id"] not in names]
        chat.page.route("**/v1/models", lambda route: route.fulfill(json={**cards, "data": left}))
        chat.page.reload()

    without("adapted")
    expect(chat.page.locator("#hint")).to_contain_text("adapted is no longer served: chat continues.")
    chat.ask("6: a sword?")
    assert chat.bodies()[-1]["model"] == "chat"
    without("adapted", "chat")
    expect(chat.page.locator("#hint")).to_contain_text("No model here supports chat")
    chat.words.fill("7?")
    assert chat.send.is_disabled()


def test_a_stream_that_breaks_off_keeps_its_beginning_and_goes_on(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chunk = {"choices": [{"index": 0, "delta": {"content": "The smith"}, "logprobs": None, "finish_reason": None}]}
    broken = f"data: {json.dumps(chunk)}\n\ndata: {{"
    chat.page.route(
        "**/v1/chat/completions", lambda route: route.fulfill(body=broken, content_type="text/event-stream"), times=1
    )
    chat.set_number("Maximum tokens", 5)
    chat.say("5: a nail?")
    expect(chat.answers).to_contain_text("The answer was interrupted. The text so far is kept.")
    expect(chat.answers.locator(".words")).to_have_text("The smith")
    chat.button("Continue", chat.answers.locator(".notice")).click()
    assert chat.answer().startswith("The smith")
    assert chat.bodies()[-1]["continue_final_message"] is True


def test_a_busy_model_is_asked_again_by_itself(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    busy = {"error": {"message": "full", "type": "rate_limit_error", "param": None, "code": "queue_full"}}
    chat.page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(status=429, json=busy, headers={"Retry-After": str(RETRY_AFTER_S)}),
        times=2,
    )
    chat.set_number("Maximum tokens", 5)
    chat.page.clock.install()
    chat.say("5: a nail?")
    expect(chat.answers).to_contain_text("The model is busy. Retrying in")

    def is_asked_again() -> bool:
        chat.later(1000)
        return len(chat.bodies()) == 3

    assert len(chat.bodies()) == 1
    until(is_asked_again, "it is asked again")
    assert chat.answer()
    assert len(chat.bodies()) == 3
    chat.page.route("**/v1/chat/completions", lambda route: route.fulfill(status=429, json=busy))
    chat.say("6: a sword?")
    expect(chat.answers.last).to_contain_text("The model is busy. Retrying in")
    chat.send.click()
    chat.ended()
    expect(chat.answers.last).to_contain_text("Stopped")


def test_a_full_queue_of_the_real_server_is_waited_for(runs: Path, browser: Any) -> None:
    with serving([str(runs / "base")], max_num_seqs=1, max_queue_size=0) as served:
        others = [ChatPage(browser, served) for _ in range(2)]
        try:
            first, second = others
            for chat in others:
                chat.set_number("Maximum tokens", 700)
            with slowed(served.state.models.loaded["base"].engine):
                first.say("The old smith")
                first.writing()
                second.set_number("Maximum tokens", 5)
                second.page.clock.install()
                second.say("The young smith")
                expect(second.answers).to_contain_text("The model is busy")
                first.send.click()
                first.ended()
                second.later(RETRY_AFTER_S * 1000)
            assert second.answer()
        finally:
            for chat in others:
                chat.close()


def test_a_message_that_cannot_fit_is_said_before_it_is_sent_and_stays(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    too_long = "nail and sword " * 400
    chat.words.fill(too_long)
    hint = chat.page.locator("#hint")
    expect(hint).to_contain_text("tokens: the context of chat has 768. Shorten it.")
    assert chat.send.is_disabled()
    chat.words.press("Enter")
    expect(chat.words).to_have_value(too_long)
    chat.words.fill("5: a nail?")
    expect(hint).to_contain_text("Enter sends")
    chat.set_number("Maximum tokens", 5)
    chat.words.press("Enter")
    assert chat.answer()
    chat.button("Edit", chat.asked).click()
    box = chat.page.get_by_role("textbox", name="The message")
    box.fill(too_long)
    chat.button("Send", chat.asked).click()
    expect(chat.page.get_by_text("Shorten it.")).to_be_visible()
    expect(box).to_have_value(too_long)
    assert len(chat.bodies()) == 1


def test_a_message_that_is_sent_and_does_not_fit_says_both_lengths_and_can_be_edited(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.page.route("**/tokenize", lambda route: route.abort())
    chat.say("nail and sword " * 400)
    notice = chat.answers.locator(".notice")
    expect(notice).to_contain_text("tokens and the model's context holds 768")
    chat.button("Edit the message").click()
    chat.page.get_by_role("textbox", name="The message").fill("5: a nail?")
    chat.set_number("Maximum tokens", 5)
    chat.button("Send", chat.asked).click()
    assert chat.answer()


def test_a_key_is_asked_for_and_sent_from_then_on(runs: Path, browser: Any) -> None:
    with serving([str(runs / "chat")], keys=ApiKeys([KEY])) as served:
        chat = ChatPage(browser, served)
        try:
            box = chat.page.locator("dialog input")
            box.fill("a wrong key")
            box.press("Enter")
            expect(box).to_have_value("a wrong key")
            box.fill(KEY)
            box.press("Enter")
            expect(chat.page.locator(".welcome")).to_be_visible()
            chat.set_number("Maximum tokens", 5)
            assert chat.ask("5: a nail?")
            assert chat.page.evaluate("() => JSON.stringify(localStorage)").find(KEY) == -1
            chat.page.reload()
            expect(chat.page.locator(".message.user")).to_have_count(1)
        finally:
            chat.close()


def test_a_server_that_leaves_in_the_middle_is_said(runs: Path, browser: Any) -> None:
    with serving([str(runs / "base")], drain_s=0.0) as served:
        chat = ChatPage(browser, served)
        try:
            chat.set_number("Maximum tokens", 760)
            with slowed(served.state.models.loaded["base"].engine):
                chat.say("The old smith")
                chat.writing()
                served.running.should_exit = True
                chat.ended()
            expect(chat.page.locator(".below .notice")).to_be_visible()
            expect(chat.answers.locator(".words")).not_to_have_text("")
        finally:
            chat.close()


def test_a_model_that_fails_says_so_and_the_page_goes_on(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = open_page(names=["chat"])
    engine = chat.served.state.models.loaded["chat"].engine
    chat.set_number("Maximum tokens", 5)

    def fail() -> None:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "on_pass", fail)
        chat.say("5: a nail?")
        expect(chat.answers).to_contain_text("Generation failed.")
    chat.button("Try again").click()
    assert chat.answer()
    until(chat.served.is_idle, "nothing is left of it")


def test_a_browser_that_keeps_nothing_says_so(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.context.add_init_script("Object.defineProperty(window, 'indexedDB', { value: undefined })")
    chat.page.reload()
    expect(chat.page.locator("#notices")).to_contain_text("This browser does not store conversations")
    chat.set_number("Maximum tokens", 5)
    assert chat.ask("5: a nail?")
