"""The panel that explains a word: what it shows of what the server says, what its buttons do, and for whom it works."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from ..conftest import until
from .canned_explanation import can, explanation, sources
from .chat_page import ChatPage
from .conftest import Blank
from .test_access import PHONE, tab_to, violations
from .test_markdown_is_safe import NASTY

OpenPage = Callable[..., ChatPage]
QUESTION = "5: a nail?"
CAUSE = ("because", "made it", "caused", "due to")
SECTIONS = ["How sure", "Your words", "Why not …?", "Where in your texts", "Inside", "Can I trust this?"]


def opened(
    open_page: OpenPage, found: dict[str, Any] | None = None, traced: dict[str, Any] | None = None, **options: Any
) -> tuple[ChatPage, list[dict[str, Any]]]:
    """A page with an answer whose least sure word is explained, and what was asked for it."""
    chat = open_page(names=["chat"], **options)
    sent = can(chat, found or explanation(QUESTION), traced or sources())
    chat.set_number("Maximum tokens", 12)
    chat.set_number("Seed", 3)
    chat.button("Close the settings").click()
    chat.ask(QUESTION)
    chat.button("Why these words?").click()
    expect(section(chat, "Inside").locator(".parts")).to_be_visible()
    return chat, sent


def section(chat: ChatPage, name: str) -> Any:
    return chat.page.get_by_role("region", name=name, exact=True)


def test_a_word_is_explained_in_six_sections(open_page: OpenPage) -> None:
    chat, sent = opened(open_page)
    panel = chat.page.locator("#why")
    assert panel.locator("h3").all_inner_texts() == SECTIONS
    node = next(one for one in chat.conversation()["nodes"].values() if one["role"] == "assistant")
    before, word = node["text"][: sent[0]["start"]], panel.locator(".excerpt strong").text_content()
    assert node["text"].startswith(before + word)
    logprobs = [one["logprob"] for one in node["tokens"] if one["text"].strip() and "bytes" not in one]
    assert min(logprobs) == next(one["logprob"] for one in node["tokens"] if one["text"] == word)
    words, texts, inside = sent
    assert words["messages"] == [{"role": "user", "content": QUESTION}]
    assert (words["reply"], words["methods"], words["by"]) == (node["text"], ["alternatives", "leave_one_out"], "words")
    assert texts == {"model": "chat", "text": node["text"]}
    assert inside["methods"] == ["logit_lens", "direct_logit_attribution"]
    shades = section(chat, "Your words").locator("mark")
    assert "".join(shades.all_text_contents()) == QUESTION
    assert shades.first.get_attribute("class") == "for"
    trust = section(chat, "Can I trust this?").inner_text()
    assert all(
        f"\n{verdict}" in trust or f": {verdict}" in trust
        for verdict in ("Holds", "No better than chance", "Not tested")
    )
    assert "0.12 nats" in trust
    for claim in chat.page.locator(".verdict").filter(has_text="Not tested").all_inner_texts():
        assert not any(word in claim for word in CAUSE)
    expect(section(chat, "Where in your texts")).to_contain_text("part0.txt:12")
    is_sound(chat)


def test_its_buttons_write_again_as_branches(open_page: OpenPage) -> None:
    chat, sent = opened(open_page)
    chat.button("Remove “5:” and write again").click()
    chat.ended()
    assert chat.bodies()[-1]["messages"] == [{"role": "user", "content": "a nail?"}]
    expect(chat.page.locator(".message.user .branches")).to_have_text("2 / 2")
    chat.button("Previous version").click()
    chat.button("Switch off head 1 of block 1 and write again").click()
    expect(chat.page.locator(".message.assistant .branches")).to_have_text("2 / 2")
    expect(chat.answers.last).to_contain_text("The smith forges a plough.")
    expect(chat.answers.last).to_contain_text("with head 1 of block 1 switched off")
    assert sent[-1]["switch_off"] == ["blocks.1.attention.heads.1"]
    expect(section(chat, "Inside").get_by_role("progressbar")).to_have_count(0)
    section(chat, "Where in your texts").get_by_role("button", name="Forget for one step").click()
    expect(section(chat, "Where in your texts")).to_contain_text("9.3 times less probable")
    assert sent[-1]["forget"] == {"run": "base", "place": 3, "num_tokens": 14}
    with chat.page.expect_response(lambda one: "logit_lens" in (one.request.post_data or "")):
        chat.page.locator(".chip").first.click()
    assert [one["against"] for one in sent[-2:]] == [" plough", " plough"]
    chat.page.get_by_label("Sentence by sentence").check()
    expect(chat.page.get_by_label("Sentence by sentence")).to_be_checked()
    assert sent[-1]["by"] == "sentences"


def is_sound(chat: ChatPage) -> None:
    """axe-core finds nothing wrong, nothing is wider than the page, and nothing was asked for elsewhere."""
    assert violations(chat) == []
    assert chat.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    wide = chat.page.locator("#why").evaluate("(panel) => [panel.scrollWidth, panel.clientWidth]")
    assert wide[0] <= wide[1]
    assert chat.said == []
    assert {one.url.split("/")[2] for one in chat.requests} == {f"127.0.0.1:{chat.served.port}"}


def test_a_keyboard_alone_is_enough(open_page: OpenPage) -> None:
    chat, _ = opened(open_page)
    keys = chat.page.keyboard
    keys.press("Escape")
    explained = chat.page.locator(".token.is-explained, .token:focus")
    expect(chat.page.locator("#why")).to_be_hidden()
    expect(explained).to_be_focused()
    keys.press("Enter")
    keys.press("ArrowUp")
    expect(chat.button("Why this word?")).to_be_focused()
    keys.press("Enter")
    expect(chat.button("Close the explanation")).to_be_focused()
    expect(chat.page.locator(".strongest")).to_be_visible()
    tab_to(chat, "Remove “5:” and write again")
    keys.press("Enter")
    chat.ended()
    expect(chat.page.locator(".message.user .branches")).to_have_text("2 / 2")


def test_hostile_words_parts_and_file_names_stay_words(tab: Blank) -> None:
    found = tab.run(
        """async ([nasty, explanation, traced]) => {
          const sections = await import("/page/why_sections.js");
          const { el } = await import("/page/element.js");
          const question = {
            texts: [{ id: "a", author: nasty[0], text: nasty[0] }],
            place: ({ start, stop }) => ({ id: "a", number: 0, start, stop, text: nasty[0].slice(start, stop) }),
          };
          const alike = (value, one) => {
            if (typeof value === "string") return one;
            if (Array.isArray(value)) return value.map((each) => alike(each, one));
            if (typeof value !== "object" || value === null) return value;
            const fixed = ["kind", "verdict"];
            const changed = ([key, each]) => [key, fixed.includes(key) ? each : alike(each, one)];
            return Object.fromEntries(Object.entries(value).map(changed));
          };
          const isOdd = (name) => name.startsWith("on") || ["href", "src", "srcdoc"].includes(name);
          return nasty.map((one) => {
            question.texts[0] = { id: "a", author: one, text: one };
            const [said, from] = [alike(explanation, one), alike(traced, one)];
            const made = el("div", {}, sections.ofYourWords(said, question, () => {}),
              sections.contrasts(said, () => {}), sections.yourTexts(from, 1, () => {}),
              sections.inside(said, () => {}), sections.trust(said.claims, said.checks));
            document.body.append(made);
            const all = [...made.querySelectorAll("*")];
            const names = all.map(({ localName }) => localName);
            const odd = all.flatMap((each) => each.getAttributeNames()).filter(isOdd);
            const text = made.querySelector("blockquote strong").textContent;
            made.remove();
            return [text, [...new Set(names)], odd];
          });
        }""",
        [NASTY, explanation(QUESTION), sources()],
    )
    for (text, names, odd), given in zip(found, NASTY, strict=True):
        assert text == given
        assert odd == []
        assert set(names) <= {
            "p", "div", "span", "mark", "ol", "li", "q", "button", "label", "input", "code", "blockquote", "strong",
            "details", "summary", "table", "tbody", "tr", "th", "td",
        }  # fmt: skip


def test_what_goes_wrong_is_a_sentence_and_closing_gives_up(open_page: OpenPage) -> None:
    chat, _ = opened(open_page)
    error = {"error": {"message": "the two words differ by next to nothing", "type": "", "param": None, "code": None}}
    chat.page.unroute("**/v1/explain")
    chat.page.route("**/v1/explain", lambda route: route.fulfill(status=400, json=error))
    chat.page.get_by_label("Sentence by sentence").click()
    expect(section(chat, "Your words").get_by_role("alert")).to_have_text("The two words differ by next to nothing.")
    chat.page.unroute("**/v1/explain")
    chat.slow_down("/v1/explain")
    chat.button("Why these words?").click()
    expect(section(chat, "Your words").get_by_role("progressbar")).to_be_visible()
    before = len(chat.requests)
    chat.button("Close the explanation").click()
    chat.let_go()
    chat.button("Why these words?").click()
    assert [one.failure for one in chat.requests[before:] if one.failure] == []
    assert not chat.errors


def test_the_real_server_explains_on_a_phone_in_the_dark_and_ends_when_it_is_closed(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = open_page(names=["chat"], color_scheme="dark", **PHONE)
    chat.set_number("Maximum tokens", 12)
    chat.set_number("Seed", 3)
    chat.button("Close the settings").click()
    chat.ask("12: a sword?")
    chat.button("Why these words?").click()
    expect(section(chat, "Inside").locator(".parts")).to_be_visible()
    assert "".join(section(chat, "Your words").locator("mark").all_text_contents()) == "12: a sword?"
    assert section(chat, "Where in your texts").locator(".says, blockquote").count()
    expect(section(chat, "Can I trust this?")).to_contain_text("Your words:")
    expect(section(chat, "Can I trust this?").locator("summary")).to_have_text(re.compile(r"(\d+) of \1 hold"))
    is_sound(chat)
    chat.page.get_by_role("button", name=re.compile("^Switch off")).first.click()
    expect(chat.page.locator(".message.assistant .branches")).to_have_text("2 / 2")
    chat.button("Previous version").click()
    engine = chat.served.state.models.loaded["chat"].engine
    call, closed = engine.call, threading.Event()
    monkeypatch.setattr(engine, "call", lambda work: call(lambda: (closed.wait(30), work())[1]))
    chat.button("Why these words?").click()
    expect(section(chat, "Your words").get_by_role("progressbar")).to_be_visible()
    chat.button("Close the explanation").click()
    closed.set()
    until(chat.served.is_idle, "nobody waits for an explanation whose panel is closed")
