"""The chat page in Chinese: chosen by the browser or by the person, and without an English word of the page's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect

from .chat_page import ChatPage

ENGLISH = re.compile(r"\b(?!very|Esc|Enter|Shift|JSON|Markdown|token|Logit|logit|Top|Min|tokens/s)[A-Za-z]{3,}\b")


def own_words(page: Any) -> str:
    """All that the page says but what people and models are called or wrote."""
    return str(
        page.evaluate(
            """() => {
      const copy = document.body.cloneNode(true);
      for (const one of copy.querySelectorAll(".words, .title, .wordmark, .model, .try, .welcome h1, h1.unseen, #spoken, .author, script, noscript, option[lang], code")) one.remove();
      const labels = [...copy.querySelectorAll("[aria-label]:not([data-id]), [title], [placeholder]")].flatMap((one) => [one.ariaLabel, one.title, one.placeholder]);
      return [copy.textContent, ...labels].filter(Boolean).join("\\n");
    }"""  # noqa: E501
        )
    )


def test_the_page_is_in_the_language_that_a_person_reads(open_page: Callable[..., ChatPage]) -> None:
    chat = open_page(["chat"], locale="zh-CN")
    page = chat.page
    expect(page.locator("html")).to_have_attribute("lang", "zh")
    expect(page.get_by_text("对话模型：问它些什么吧。")).to_be_visible()
    page.locator("#open-panel").click()
    chat.words.fill("5: a nail?")
    chat.send.click()
    expect(chat.button("为什么是这些词？")).to_be_visible()
    page.locator("#shade").click()
    left = own_words(page)
    for name in ("chat", "smiths", "nail"):  # the model's name and what it was trained on
        left = left.replace(name, "")
    assert ENGLISH.findall(left) == []
    # The person chooses another, which stays.
    page.get_by_label("语言").select_option("en")
    expect(page.get_by_role("heading", name="Settings", exact=True)).to_be_visible()
    page.reload()
    expect(chat.button("Why these words?")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "en")
