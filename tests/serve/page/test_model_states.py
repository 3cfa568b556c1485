"""The page of a server whose models are loaded on first use."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from gptsmith.serve.load import LoadedRun, ModelDescription
from gptsmith.serve.model_folders import ModelFolders

from .chat_page import ChatPage


def test_models_are_shown_with_their_state(open_page: Callable[..., ChatPage], monkeypatch: pytest.MonkeyPatch) -> None:
    is_open, load = threading.Event(), ModelFolders.load

    def gated(folders: ModelFolders, about: ModelDescription) -> LoadedRun:
        assert is_open.wait(60)
        return load(folders, about)

    monkeypatch.setattr(ModelFolders, "load", gated)
    chat = open_page(names=["."])
    chooser = chat.page.get_by_label("Model")
    chooser.select_option("chat")
    expect(chooser.locator("option:checked")).to_have_text("chat")
    expect(chat.page.locator(".facts")).to_contain_text("loaded when it is first asked")
    chat.set_number("Maximum tokens", 5)
    chat.say("5: a nail?")
    expect(chat.answers.last).to_contain_text("chat is being loaded")
    is_open.set()
    assert chat.answer()
    expect(chat.answers.last).not_to_contain_text("is being loaded")
    expect(chooser.locator("option:checked")).to_have_text("chat")
