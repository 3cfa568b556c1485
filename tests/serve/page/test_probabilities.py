"""The probability view: shades that are the model's own figures, and branches from alternatives."""

from __future__ import annotations

import math
from collections.abc import Callable

from playwright.sync_api import expect

from .chat_page import ChatPage

OpenPage = Callable[..., ChatPage]
SHADES = (0.9, 0.6, 0.3, 0.1, 0.02, 0)


def shaded(open_page: OpenPage, name: str = "base") -> ChatPage:
    """A page that shows a text of 40 tokens with its probabilities."""
    chat = open_page(names=[name])
    chat.set_number("Maximum tokens", 40)
    chat.set_number("Seed", 5)
    chat.ask("The old smith")
    chat.button("Probabilities").click()
    expect(chat.page.locator(".token").first).to_be_visible()
    return chat


def test_tokens_are_shaded_by_their_probability_and_nothing_of_the_text_is_lost(open_page: OpenPage) -> None:
    chat = shaded(open_page)
    node = next(one for one in chat.conversation()["nodes"].values() if one["role"] == "assistant")
    expect(chat.answers.locator(".words")).to_have_text(node["text"], use_inner_text=False)
    whole = [one for one in node["tokens"] if "bytes" not in one]
    assert len(whole) == len(node["tokens"]) == chat.page.locator(".token").count()
    found = chat.page.locator(".token").evaluate_all("spans => spans.map(({ className }) => className)")
    wanted = [next(n for n, least in enumerate(SHADES) if math.exp(one["logprob"]) >= least) for one in whole]
    assert found == [f"token shade-{shade}" for shade in wanted]
    bits = -sum(one["logprob"] for one in whole) / len(whole) / math.log(2)
    expect(chat.page.locator(".figures")).to_contain_text(f"{bits:.2f} bits per token")


def test_a_click_shows_ten_alternatives_and_taking_one_branches_from_there(open_page: OpenPage) -> None:
    chat = shaded(open_page)
    text = chat.answers.locator(".words").text_content()
    chat.page.locator(".token").nth(6).click()
    dialog = chat.page.get_by_role("dialog", name="Alternatives")
    rows = dialog.locator(".alternative")
    assert rows.count() in (10, 11)
    assert dialog.locator(".alternative.is-written").count() == 1
    node = next(one for one in chat.conversation()["nodes"].values() if one["role"] == "assistant")
    shares = [math.exp(one["logprob"]) for one in node["tokens"][6]["alternatives"]]
    assert len(shares) == 10
    assert shares == sorted(shares, reverse=True)
    (number,) = [
        number
        for number, one in enumerate(node["tokens"][6]["alternatives"])
        if one["text"] != node["tokens"][6]["text"] and "bytes" not in one
    ][:1]
    other = node["tokens"][6]["alternatives"][number]["text"]
    rows.nth(number).click()
    chat.ended()
    prefix = "".join(one["text"] for one in node["tokens"][:6]) + other
    expect(chat.page.locator(".branches")).to_have_text("2 / 2")
    again = chat.answers.locator(".words").text_content()
    assert again.startswith(prefix)
    assert len(again) > len(prefix)
    assert chat.bodies()[-1]["prompt"] == f"The old smith{prefix}"
    assert chat.page.locator(".token").nth(6).text_content() == other
    chat.button("Previous version").click()
    expect(chat.answers.locator(".words")).to_have_text(text, use_inner_text=False)


def test_in_a_conversation_an_alternative_goes_on_with_the_answer(open_page: OpenPage) -> None:
    chat = shaded(open_page, "chat")
    chat.page.locator(".token").first.click()
    chat.page.locator(".alternative:enabled").first.click()
    chat.ended()
    body = chat.bodies()[-1]
    assert body["continue_final_message"] is True
    assert body["messages"][-1]["role"] == "assistant"
    expect(chat.page.locator(".branches")).to_have_text("2 / 2")


def test_the_tokens_are_reached_by_the_keyboard(open_page: OpenPage) -> None:
    chat = shaded(open_page)
    tokens = chat.page.locator(".token")
    tokens.first.focus()
    for key, number in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("Home", 0), ("ArrowRight", 1)):
        chat.page.keyboard.press(key)
        expect(tokens.nth(number)).to_be_focused()
    assert tokens.evaluate_all("spans => spans.filter(({ tabIndex }) => tabIndex === 0).length") == 1
    chat.page.keyboard.press("Enter")
    dialog = chat.page.get_by_role("dialog", name="Alternatives")
    expect(dialog).to_be_visible()
    first = chat.page.locator(".alternative:enabled").first
    expect(first).to_be_focused()
    chat.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(tokens.nth(1)).to_be_focused()
    chat.page.keyboard.press("Enter")
    chat.page.keyboard.press("ArrowDown")
    chat.page.keyboard.press("Enter")
    chat.ended()
    expect(chat.page.locator(".branches")).to_have_text("2 / 2")


def test_the_view_is_kept_and_can_be_left(open_page: OpenPage) -> None:
    chat = shaded(open_page, "chat")
    chat.page.reload()
    expect(chat.page.locator(".token").first).to_be_visible()
    chat.button("Probabilities").click()
    expect(chat.page.locator(".token")).to_have_count(0)
    expect(chat.answers.locator(".words")).not_to_have_text("")


def test_characters_of_several_tokens_and_texts_that_were_cut_are_told_apart(open_page: OpenPage) -> None:
    found = open_page(names=["base"]).page.evaluate(
        """async () => {
          const { pieces } = await import("/page/shades.js");
          const part = (byte) => ({ text: "\\ufffd", bytes: [byte], logprob: -1 });
          const euro = [...new TextEncoder().encode("€")].map(part);
          const word = (text) => ({ text, logprob: -1 });
          return {
            euro: pieces({ text: "a€b", tokens: [word("a"), ...euro, word("b")] }),
            cut: pieces({ text: "one", tokens: [word("one"), word(" stop")] }),
            half: pieces({ text: "a\\ufffd", tokens: [word("a"), euro[0]] }),
            after: pieces({ text: "edited, on", tokens: [word(", on")], figures: { start: 6 } }),
          };
        }"""
    )
    assert [(one["text"], one["first"], one["count"]) for one in found["euro"]] == [
        ("a", 0, 1),
        ("€", 1, 3),
        ("b", 4, 1),
    ]
    assert [one["text"] for one in found["cut"]] == ["one"]
    assert [one["text"] for one in found["half"]] == ["a", "\ufffd"]
    assert [(one["text"], one["start"]) for one in found["after"]] == [(", on", 6)]
