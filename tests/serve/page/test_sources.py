"""The sources of an answer on the page: folded under it, each a click away from its passage."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from gptsmith.retrieval.documents import Documents
from gptsmith.retrieval.grounding import NOTHING_FOUND

from ...retrieval.conftest import FORGE
from ..conftest import serving, until
from .chat_page import ChatPage
from .test_access import PHONE, violations

HOSTILE = "<img src=x onerror=alert(1)> </details> **bold**"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "forge.md").write_text(FORGE.replace("## Prices", f"## Prices {HOSTILE}"), encoding="utf-8")
    return tmp_path


@pytest.fixture
def chat(browser: Any, runs: Path, folder: Path) -> Iterator[ChatPage]:
    documents = Documents([folder])
    with serving([str(runs / "chat")], documents=documents) as served:
        opened = ChatPage(browser, served)
        yield opened
        opened.close()
        assert opened.errors == []
        until(served.is_idle, "nothing that a page asked for is left")


def test_an_answer_shows_its_sources_and_each_its_passage(chat: ChatPage, folder: Path) -> None:
    chat.set_number("Maximum tokens", 8)
    chat.button("Close the settings").click()
    chat.ask("Who opened the forge?")
    sources, beside = chat.page.locator(".sources"), chat.page.locator(".beside")
    expect(sources.locator("summary")).to_have_text("1 source")
    expect(sources.locator("button")).to_be_hidden()
    expect(chat.button("Why these words?")).to_have_count(0)  # it would be about a prompt without the passages
    sources.locator("summary").press("Enter")
    source = sources.locator("button")
    expect(source).to_contain_text("forge.md, line 5 · The forge › Steel")
    source.press("Enter")
    expect(beside.locator("p")).to_have_count(3)
    expect(beside.locator("p").nth(0)).to_contain_text("Notes of the parish")
    expect(beside.locator("p").nth(1)).to_contain_text("Aldric Penhallow opened the forge")
    expect(beside.locator("p").nth(2)).to_contain_text(HOSTILE)
    assert violations(chat) == []
    chat.page.keyboard.press("Escape")
    expect(source).to_be_focused()

    chat.ask("Who is the president of Zimbabwe?")
    expect(chat.answers.last).to_contain_text(NOTHING_FOUND)
    expect(chat.button("Why these words?")).to_have_count(1)
    expect(sources.locator("button")).to_be_visible()  # what is unfolded stays so

    chat.page.reload()
    (folder / "forge.md").write_text("Gone.\n", encoding="utf-8")
    os.utime(folder / "forge.md", (1, 1))
    documents = chat.served.state.models.documents
    assert documents is not None
    documents.refresh()
    sources.locator("summary").click()
    source.click()
    expect(beside).to_contain_text("The file has changed since")
    expect(beside).to_contain_text("Aldric Penhallow opened the forge")
    chat.button("Close the source").click()
    expect(beside).to_have_count(0)

    conversation = chat.conversation()
    whole = json.dumps({"format": "gptsmith-conversations", "version": 1, "conversations": [conversation]})
    read = """async (text) => {
      const { fromJson } = await import("/page/files.js");
      try {
        return Object.values(fromJson(text)[0].nodes).map((node) => node.documents ?? null);
      } catch (error) {
        return error.message;
      }
    }"""
    assert chat.page.evaluate(read, whole) == [node.get("documents") for node in conversation["nodes"].values()]
    assert "its documents cannot be read" in chat.page.evaluate(
        read, whole.replace('"headings": [', '"headings": [[],')
    )


def test_sources_fit_on_a_phone_in_the_dark(browser: Any, chat: ChatPage) -> None:
    phone = ChatPage(browser, chat.served, color_scheme="dark", **PHONE)
    phone.set_number("Maximum tokens", 8)
    phone.button("Close the settings").click()
    phone.ask("What did a horseshoe cost, in pence?")
    phone.page.locator(".sources summary").tap()
    phone.page.locator(".source").first.tap()
    expect(phone.page.locator(".beside")).to_contain_text("four pence")
    assert violations(phone) == []
    assert phone.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    phone.close()
