"""Conversations that stay: list, search, rename, delete, out and in, several tabs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from ..conftest import slowed
from .chat_page import ChatPage

OpenPage = Callable[..., ChatPage]


def talked(open_page: OpenPage, *questions: str) -> ChatPage:
    """A page with a conversation for each question."""
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 5)
    for number, question in enumerate(questions):
        if number:
            chat.button("New conversation").first.click()
        chat.ask(question)
    expect(chat.page.locator(".conversation")).to_have_count(len(questions))
    return chat


def test_conversations_are_listed_found_renamed_and_come_back(open_page: OpenPage) -> None:
    chat = talked(open_page, "5: a nail?", "6: a SWORD?")
    titles = chat.page.locator(".conversation .title")
    expect(titles).to_have_text(["6: a SWORD?", "5: a nail?"])
    search = chat.page.get_by_label("Search conversations")
    search.fill("sword")
    expect(titles).to_have_text(["6: a SWORD?"])
    search.fill("nothing such")
    expect(chat.page.locator("#sidebar-list")).to_contain_text("No conversation matches.")
    search.fill("")
    chat.page.locator("#sidebar-list li", has_text="nail").hover()
    chat.button("More for 5: a nail?").click()
    chat.button("Rename").click()
    chat.page.locator("dialog input").fill("Iron")
    chat.page.keyboard.press("Enter")
    expect(titles).to_contain_text(["Iron"])
    chat.page.reload()
    expect(titles).to_contain_text(["Iron"])
    chat.page.locator(".conversation", has_text="Iron").click()
    expect(chat.asked.locator(".words")).to_have_text("5: a nail?")
    assert chat.page.title() == "Iron · gptsmith"


def test_a_deleted_conversation_can_be_brought_back_once(open_page: OpenPage) -> None:
    chat = talked(open_page, "5: a nail?")
    chat.button("More for 5: a nail?").click()
    chat.button("Delete").click()
    expect(chat.page.locator(".conversation")).to_have_count(0)
    expect(chat.page.locator(".welcome")).to_be_visible()
    chat.button("Undo").click()
    expect(chat.page.locator(".conversation")).to_have_count(1)
    expect(chat.asked.locator(".words")).to_have_text("5: a nail?")
    chat.button("More for 5: a nail?").click()
    chat.button("Delete").click()
    expect(chat.page.locator(".conversation")).to_have_count(0)
    chat.page.reload()
    expect(chat.page.locator(".welcome")).to_be_visible()
    expect(chat.page.locator(".conversation")).to_have_count(0)


def test_conversations_go_out_as_json_and_markdown_and_come_in_again(open_page: OpenPage, tmp_path: Path) -> None:
    chat = talked(open_page, "5: a nail?", "6: a sword?")
    answer = next(
        node["text"]
        for one in chat.conversations()
        for node in one["nodes"].values()
        if one["nodes"][one["roots"][0]]["text"] == "6: a sword?" and node["role"] == "assistant"
    )
    chat.button("More for 6: a sword?").click()
    with chat.page.expect_download() as loaded:
        chat.button("Export as Markdown").click()
    assert loaded.value.suggested_filename == "6 a sword.md"
    markdown = Path(loaded.value.path()).read_text(encoding="utf-8")
    assert "6: a sword?" in markdown
    assert answer.strip() in markdown
    with chat.page.expect_download() as loaded:
        chat.button("Export all").click()
    file = tmp_path / "all.json"
    loaded.value.save_as(file)
    assert len(json.loads(file.read_text(encoding="utf-8"))["conversations"]) == 2
    other = open_page(names=["chat"])
    other.page.locator("#sidebar-foot input").set_input_files(file)
    expect(other.page.locator(".conversation")).to_have_count(2)
    other.page.locator(".conversation", has_text="sword").click()
    expect(other.answers.locator(".words")).to_have_text(answer)
    file.write_text('{"format": "something else"}', encoding="utf-8")
    other.page.locator("#sidebar-foot input").set_input_files(file)
    expect(other.page.get_by_text("Import failed:")).to_be_visible()
    expect(other.page.locator(".conversation")).to_have_count(2)


def test_two_tabs_show_the_same_conversations(open_page: OpenPage) -> None:
    chat = talked(open_page, "5: a nail?")
    first, second = chat.page, chat.open()
    expect(second.locator(".conversation")).to_have_count(1)
    chat.ask("And a sword?")
    second.locator(".conversation").click()
    expect(second.locator(".message.user")).to_have_count(2)
    chat.page = second
    chat.ask("And a plough?")
    expect(first.locator(".message.user")).to_have_count(3)


def test_two_tabs_that_write_in_one_conversation_lose_nothing(open_page: OpenPage) -> None:
    chat = talked(open_page, "5: a nail?")
    first = chat.page
    second = chat.open(first.evaluate("() => location.pathname + location.hash"))
    expect(second.locator(".message.user")).to_have_count(1)
    for number, page in enumerate((first, second), 2):
        chat.page = page
        expect(chat.asked).to_have_count(number - 1)  # what the other tab has said has come
        chat.slow_down("/v1/chat/completions")
        chat.say(f"tab {number}")
        expect(chat.asked).to_have_count(number)
    for page in (second, first):
        chat.page = page
        chat.let_go()
        chat.ended()
    for page in (first, second):
        page.reload()
        expect(page.locator(".message.user .words")).to_have_text(["5: a nail?", "tab 2", "tab 3"])
    nodes = chat.conversation()["nodes"].values()
    assert len(nodes) == 6
    assert all(node["text"] for node in nodes)


def test_a_tab_that_looks_on_is_left_in_peace(open_page: OpenPage) -> None:
    chat = talked(open_page, "5: a nail?")
    first = chat.page
    second = chat.open(first.evaluate("() => location.pathname + location.hash"))
    chat.page = second
    chat.button("Edit", chat.asked).click()
    box = second.get_by_role("textbox", name="The message")
    box.fill("6: half a")
    chat.page = first
    chat.ask("And a sword?")
    expect(second.locator(".message.user")).to_have_count(2)
    expect(box).to_have_value("6: half a")
    expect(box).to_be_focused()


def test_a_deleted_conversation_stays_deleted(open_page: OpenPage) -> None:
    chat = open_page(names=["base"])
    chat.page.clock.install()
    chat.set_number("Maximum tokens", 700)
    with slowed(chat.served.state.models.loaded["base"].engine):
        chat.say("The old smith")
        chat.writing()
        chat.button("More for The old smith").click()
        chat.button("Delete").click()
        expect(chat.page.locator(".welcome")).to_be_visible()
    chat.set_number("Maximum tokens", 5)
    chat.ask("Another smith")
    chat.set_number("Seed", 1)
    chat.button("More for Another smith").click()
    chat.button("Delete").click()
    expect(chat.page.locator(".conversation")).to_have_count(0)
    chat.page.clock.run_for(2000)  # what is kept soon would have been
    chat.page.reload()
    expect(chat.page.locator(".welcome")).to_be_visible()
    assert chat.conversations() == []


def test_a_conversation_that_another_tab_deletes_while_it_is_written_stays_deleted(open_page: OpenPage) -> None:
    chat = talked(open_page, "5: a nail?")
    first = chat.page
    second = chat.open(first.evaluate("() => location.pathname + location.hash"))
    chat.slow_down("/v1/chat/completions")
    chat.say("And a sword?")
    expect(chat.asked).to_have_count(2)
    chat.page = second
    chat.button("More for 5: a nail?").click()
    chat.button("Delete").click()
    expect(first.get_by_text("This conversation was deleted in another tab.")).to_be_visible()
    assert chat.conversations() == []


def test_a_setting_is_kept_through_a_quick_look_at_another_conversation(open_page: OpenPage) -> None:
    chat = talked(open_page, "5: a nail?", "6: a sword?")
    chat.page.get_by_label("System prompt").fill("Be brief.")
    chat.page.locator(".conversation", has_text="nail").click()
    expect(chat.asked.locator(".words")).to_have_text("5: a nail?")
    expect(chat.page.get_by_label("System prompt")).to_have_value("")
    chat.page.locator(".conversation", has_text="sword").click()
    expect(chat.page.get_by_label("System prompt")).to_have_value("Be brief.")


def test_what_was_begun_and_not_sent_is_there_again(open_page: OpenPage) -> None:
    chat = talked(open_page, "5: a nail?")
    chat.button("New conversation").first.click()
    chat.page.get_by_label("System prompt").fill("Be brief.")
    chat.words.fill("half a sent")
    chat.page.locator(".conversation").click()
    expect(chat.words).to_have_value("")
    chat.page.go_back()
    expect(chat.words).to_have_value("half a sent")
    chat.page.reload()
    expect(chat.words).to_have_value("half a sent")
    expect(chat.page.get_by_label("System prompt")).to_have_value("Be brief.")


def test_the_browser_goes_back_and_forth_between_conversations(open_page: OpenPage) -> None:
    chat = talked(open_page, "5: a nail?", "6: a sword?")
    chat.page.locator(".conversation", has_text="nail").click()
    expect(chat.asked.locator(".words")).to_have_text("5: a nail?")
    chat.page.go_back()
    expect(chat.asked.locator(".words")).to_have_text("6: a sword?")
    chat.page.go_forward()
    expect(chat.asked.locator(".words")).to_have_text("5: a nail?")
    chat.page.goto(f"{chat.served.address}/#nowhere")
    expect(chat.page.get_by_text("The conversation of this address is not in this browser.")).to_be_visible()
    expect(chat.page.locator(".welcome")).to_be_visible()
    assert "#" not in chat.page.url


def test_settings_of_a_file_that_this_page_could_not_have_made_are_left_out(
    open_page: OpenPage, tmp_path: Path
) -> None:
    chat = talked(open_page, "5: a nail?")
    conversation = {**chat.conversation(), "settings": {"stop": "x", "bias": {"a": 1}, "temperature": 9, "seed": 4}}
    file = tmp_path / "odd.json"
    told = {"format": "gptsmith-conversations", "version": 1, "conversations": [conversation]}
    file.write_text(json.dumps(told), encoding="utf-8")
    chat.page.locator("#sidebar-foot input").set_input_files(file)
    expect(chat.page.get_by_text("Imported 1 conversation.")).to_be_visible()
    expect(chat.page.get_by_label("Seed")).to_have_value("4")
    assert [one["settings"] for one in chat.conversations() if one["id"] != conversation["id"]] == [{"seed": 4}]


def test_nothing_that_comes_in_becomes_markup(open_page: OpenPage, tmp_path: Path) -> None:
    nasty = '<img src=x onerror="window.hit = 1"><script>window.hit = 1</script>[a](javascript:window.hit=1)'
    chat = talked(open_page, "5: a nail?")
    conversation = chat.conversation()
    conversation["title"] = nasty
    for node in conversation["nodes"].values():
        node["text"] = nasty
        for token in node.get("tokens", []):
            token["text"] = nasty
            for one in token["alternatives"]:
                one["text"] = nasty
    file = tmp_path / "nasty.json"
    told = {"format": "gptsmith-conversations", "version": 1, "conversations": [conversation]}
    file.write_text(json.dumps(told), encoding="utf-8")
    chat.page.locator("#sidebar-foot input").set_input_files(file)
    expect(chat.page.locator(".conversation")).to_have_count(2)
    chat.page.locator(".conversation", has_text="img").click()
    expect(chat.asked.locator(".words")).to_have_text(nasty)
    chat.button("Probabilities").click()
    chat.page.locator(".token").first.click()
    expect(chat.page.get_by_role("dialog")).to_be_visible()
    assert chat.page.locator("main img, main script, main a, .beside img, .beside script").count() == 0
    assert chat.page.evaluate("() => window.hit") is None
