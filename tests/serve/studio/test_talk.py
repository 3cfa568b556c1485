"""Talking in the studio: marks below answers, two answers side by side, and what a person sees of it all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from gptsmith.serve.static import FOLDER

from ..conftest import slowed, until
from ..page.test_access import PHONE
from ..page.test_markdown_is_safe import NASTY
from .conftest import Opened, StudioPage, opened

ANSWER, MARKS = ".message.assistant", "**/studio/api/marks**"
SHORT = {"max_tokens": 8}


@pytest.fixture(scope="module")
def talked(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """A studio with two models that answer, and one that does not."""
    folder = tmp_path_factory.mktemp("talked")
    for name in ("base", "chat", "adapted"):
        shutil.copytree(runs / name, folder / "runs" / name)
    with opened(folder) as found:
        database = found.server.studio.database
        with database.transaction() as connection:
            connection.execute("INSERT INTO settings VALUES ('default_model', '\"chat\"')")
        yield found


class TalkPage(StudioPage):
    """A tab with the chat page of a studio; answers are short."""

    def __init__(self, browser: Any, studio: Opened, path: str = "talk", **options: Any) -> None:
        super().__init__(browser, studio, **options)
        self.page.evaluate("(settings) => localStorage.setItem('gptsmith-settings', settings)", json.dumps(SHORT))
        self.page.goto(f"{studio.address}/{path}")
        expect(self.page.locator(".welcome, .message").first).to_be_visible()

    def say(self, text: str) -> None:
        self.page.locator("#words").fill(text)
        self.page.locator("#send").click()

    def ended(self) -> None:
        """Waits until nothing is written any more."""
        expect(self.page.locator("#send.is-stop")).to_have_count(0)

    def ask(self, text: str) -> None:
        before = self.page.locator(ANSWER).count()
        self.say(text)
        expect(self.page.locator(ANSWER)).not_to_have_count(before)
        self.ended()

    def marks(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.studio.get("marks")["marks"]
        return found

    def has_marks(self, *verdicts: str) -> None:
        """Waits until there are marks of just these verdicts, newest first."""
        until(lambda: [mark["verdict"] for mark in self.marks()] == [*verdicts], f"the marks become {verdicts}")

    def away(self, answer: Callable[[Any], None] | None) -> None:
        """Lets the studio answer about marks in this way, or itself again."""
        self.context.unroute(MARKS)
        if answer is not None:
            self.context.route(MARKS, answer)


@pytest.mark.story
def test_thumbs_and_edits_are_kept_changed_taken_back_and_seen_everywhere(talked: Opened, browser: Any) -> None:
    talked.ask("DELETE", "/studio/api/marks")
    seen = TalkPage(browser, talked)
    page = seen.page
    expect(page.locator(".welcome h1")).to_have_text("chat")
    seen.ask("5: a nail?")
    seen.button("Good answer").click()
    seen.has_marks("up")
    (mark,) = seen.marks()
    shown = page.locator(f"{ANSWER} .words").inner_text()
    assert mark["prompt"] == [{"role": "user", "content": "5: a nail?"}]
    assert mark["answers"][0]["model"] == "chat"
    assert mark["answers"][0]["sampling"] == SHORT
    assert mark["answers"][0]["weights"]
    assert " ".join(mark["answers"][0]["text"].split()) == " ".join(shown.split())
    # The other one takes its place; once more takes it back; all by keyboard, whose focus stays.
    seen.button("Bad answer").press("Enter")
    seen.has_marks("down")
    expect(seen.button("Bad answer")).to_be_focused()
    expect(seen.button("Good answer")).to_have_attribute("aria-pressed", "false")
    second = seen.context.new_page()
    second.goto(page.url)
    expect(seen.button("Bad answer", second)).to_have_attribute("aria-pressed", "true")
    seen.button("Bad answer", second).click()
    seen.has_marks()
    expect(seen.button("Bad answer")).to_have_attribute("aria-pressed", "false")
    second.close()
    # An edit stands in the conversation, and what the model had written is kept beside it.
    seen.button("Edit", page.locator(ANSWER)).click()
    page.get_by_label("The message").fill("The smith forges a **nail**.")
    seen.button("Keep").click()
    seen.has_marks("edited")
    (mark,) = seen.marks()
    assert (mark["edited"], mark["answers"][0]["text"].split()) == ("The smith forges a **nail**.", shown.split())
    page.reload()
    expect(page.locator(f"{ANSWER} strong")).to_have_text("nail")
    expect(page.locator(ANSWER)).to_contain_text("Your version, kept as a mark.")
    expect(page.locator(ANSWER)).to_contain_text("2 / 2")
    assert seen.violations() == []
    seen.button("Take back").click()
    seen.has_marks()
    seen.button("Keep", page.locator(ANSWER)).click()
    seen.has_marks("edited")
    # All of it is listed, found by its kind, and deleted.
    page.get_by_role("link", name="Your marks").click()
    expect(page.locator(".marks li")).to_have_count(1)
    expect(page.locator(".marks")).to_contain_text("The smith forges a **nail**.")
    assert seen.violations() == []
    with page.expect_download() as download:
        seen.button("Edits for SFT (1)").click()
    assert json.loads(download.value.path().read_text())["messages"][-1]["content"] == "The smith forges a **nail**."
    page.get_by_label("Kind").select_option("thumb")
    expect(page.get_by_text("No mark is of this kind and model.")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Kind")).to_have_value("thumb")
    page.get_by_label("Kind").select_option("edit")
    seen.button("Delete the mark about “5: a nail?”").click()
    expect(page.get_by_text("There are none yet")).to_be_visible()
    page.get_by_role("link", name="Talk", exact=True).click()
    expect(page.locator("#top [aria-current]")).to_have_text("Talk")
    seen.close()


@pytest.mark.story
def test_two_answers_side_by_side_until_one_is_chosen(talked: Opened, browser: Any) -> None:
    talked.ask("DELETE", "/studio/api/marks")
    seen = TalkPage(browser, talked, path="talk?model=chat")
    page = seen.page
    assert page.url == f"{talked.address}/talk"
    seen.button("Compare").click()
    page.get_by_label("Its temperature").fill("0.5")
    page.get_by_label("Its top-p").fill("0.8")
    page.get_by_label("Its seed").fill("-1")  # which is none
    columns = page.locator(".column")
    for name in ("chat", "adapted"):
        assert talked.ask("POST", "/v1/completions", {"model": name, "prompt": "a", "max_tokens": 1}).status == 200
    page.locator("#open-panel").click()
    page.get_by_label("Maximum tokens").fill("200")
    page.locator("#open-panel").click()
    engines = talked.server._server.state.models.loaded
    with slowed(engines["chat"].engine), slowed(engines["adapted"].engine):
        seen.say("5: a nail?")
        for number in range(2):
            expect(columns.nth(number).locator(".answer")).not_to_have_text("")
            expect(seen.button("Stop A" if number == 0 else "Stop B")).to_be_visible()
        seen.button("Stop A").click()
        expect(columns.nth(0)).to_contain_text("Stopped.")
        expect(seen.button("Stop B")).to_be_visible()
        seen.button("Stop B").click()
        seen.ended()
    expect(page.locator("#hint")).to_contain_text("Say which answer is better")
    # Nothing says which model is which.
    assert not any(name in page.locator(".duel").inner_text() for name in ("chat", "adapted", "tokens/s"))
    assert seen.violations() == []
    page.reload()
    expect(columns).to_have_count(2)
    texts = [columns.nth(number).locator(".words").inner_text() for number in range(2)]
    for number in range(2):
        with page.expect_response("**/v1/explain") as explained, page.expect_response("**/v1/trace") as traced:
            seen.button("Why these words?", columns.nth(number)).click()
        assert explained.value.status == 200
        assert explained.value.request.post_data_json["reply"].split() == texts[number].split()
        assert traced.value.status == 200
        seen.button("Close the explanation").click()
    page.locator("#shade").click()
    seen.button("B is better").press("Enter")
    seen.has_marks("second")
    (mark,) = seen.marks()
    assert [one["text"].split() for one in mark["answers"]] == [text.split() for text in texts]
    assert {one["model"] for one in mark["answers"]} == {"chat", "adapted"}
    own = ("temperature", "top_p", "seed")
    sampled = {one["model"]: [one["sampling"].get(name) for name in own] for one in mark["answers"]}
    assert sampled == {"chat": [None, None, None], "adapted": [0.5, 0.8, None]}
    first, second = (one["model"] for one in mark["answers"])
    expect(page.locator(ANSWER)).to_contain_text(f"You preferred this to the answer of {first}.")
    expect(page.locator(f"{ANSWER} .author")).to_have_text(second)
    seen.button("Change").click()
    expect(seen.button("B is better")).to_have_attribute("aria-pressed", "true")
    seen.button("Equally good").click()
    seen.has_marks("equal")
    # The conversation goes on, with one model where nothing is compared.
    seen.button("Compare").click()
    seen.ask("7: a sword?")
    expect(page.locator(ANSWER)).to_have_count(2)
    seen.button("Take back").click()
    seen.has_marks()
    page.reload()
    expect(page.locator(ANSWER).first).to_contain_text(f"Compared with {second}.")
    seen.close()


def test_the_order_is_drawn_where_names_are_hidden(talked: Opened, browser: Any) -> None:
    seen = StudioPage(browser, talked)
    drawn = """async (isBlind) => {
      const { Compare } = await import("/page/studio/compare.js");
      const compare = new Compare();
      Object.assign(compare.chosen, { isBlind, temperature: 0.5 });
      const models = ["one", "two"].map((name) => ({ name, kind: "chat" }));
      const sides = () => compare.sides({ models, model: models[0], conversation: { settings: { seed: 3 } } });
      return Array.from({ length: 200 }, sides);
    }"""
    orders = [[side["model"] for side in pair] for pair in seen.page.evaluate(drawn, True)]
    # By chance alone, fewer than 60 of 200 come once in a hundred million times.
    assert min(orders.count(["one", "two"]), orders.count(["two", "one"])) >= 60
    shown = seen.page.evaluate(drawn, False)
    first, second = (
        {"model": "one", "settings": {"seed": 3}},
        {"model": "two", "settings": {"seed": 3, "temperature": 0.5}},
    )
    assert all(pair == [first, second] for pair in shown)
    # One model is beside itself with another seed: the next one, or a chosen one.
    seeds = """async (seed) => {
      const { Compare } = await import("/page/studio/compare.js");
      const compare = new Compare();
      Object.assign(compare.chosen, { isBlind: false, model: "one", seed });
      const models = [{ name: "one", kind: "chat" }];
      const sides = compare.sides({ models, model: models[0], conversation: { settings: { seed: 3 } } });
      return sides.map(({ settings }) => settings.seed);
    }"""
    assert [seen.page.evaluate(seeds, seed) for seed in (None, 9)] == [[3, 4], [3, 9]]
    seen.close()


def test_marks_wait_in_the_browser_while_the_studio_is_away(talked: Opened, browser: Any) -> None:
    talked.ask("DELETE", "/studio/api/marks")
    seen = TalkPage(browser, talked)
    seen.ask("5: a nail?")
    seen.away(lambda route: route.abort())
    seen.button("Good answer").click()
    expect(seen.button("Good answer")).to_have_attribute("aria-pressed", "true")
    seen.page.reload()
    expect(seen.button("Good answer")).to_have_attribute("aria-pressed", "true")
    with seen.page.expect_response(MARKS):
        seen.away(lambda route: route.fulfill(status=507, json={"error": {"message": "the disk is full"}}))
        seen.page.reload()
    expect(seen.button("Good answer")).to_have_attribute("aria-pressed", "true")
    assert seen.marks() == []
    seen.away(None)
    seen.page.reload()
    seen.has_marks("up")
    expect(seen.button("Good answer")).to_have_attribute("aria-pressed", "true")
    until(
        lambda: seen.page.evaluate("() => Object.keys(localStorage).every((name) => !name.includes('mark-'))"), "sent"
    )
    seen.said = [line for line in seen.said if "ERR_FAILED" not in line and "507" not in line]
    seen.close()


def test_nasty_answers_are_words_in_both_columns_and_in_the_list(talked: Opened, browser: Any) -> None:
    talked.ask("DELETE", "/studio/api/marks")
    seen = TalkPage(browser, talked, **PHONE)
    text = "\n\n".join(NASTY)
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": "stop", "logprobs": None}
    body = f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n"
    seen.page.route("**/v1/chat/completions", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    asked: list[str] = []
    seen.page.on("request", lambda request: asked.append(request.url))
    seen.page.on("dialog", lambda dialog: asked.append(dialog.message))
    seen.button("Compare").tap()
    seen.say("x")
    seen.ended()
    for number in range(2):
        expect(seen.page.locator(".column").nth(number)).to_contain_text("<script>alert(1)</script>")
    assert seen.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert seen.violations() == []
    seen.button("Both bad").tap()
    seen.has_marks("neither")
    for name in ("Good answer", "Bad answer"):
        expect(seen.button(name)).to_be_in_viewport(ratio=1)
    seen.go("marks")
    expect(seen.page.locator(".marks")).to_contain_text("<script>alert(1)</script>")
    assert seen.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert all(address.startswith(f"{talked.address}/") for address in asked)
    seen.close()


def test_the_chat_page_is_told_of_a_missing_token(talked: Opened, browser: Any) -> None:
    page = browser.new_page()
    page.goto(f"{talked.address}/talk")
    expect(page.get_by_role("alert")).to_contain_text("This browser has not been let in.")
    page.close()


def test_the_page_in_the_studio_has_all_that_the_chat_page_has() -> None:
    alone = (FOLDER / "index.html").read_text(encoding="utf-8").splitlines()
    within = (FOLDER / "studio" / "talk.html").read_text(encoding="utf-8")
    missing = [line for line in alone if line not in within.splitlines()]
    assert missing == ["<title>gptsmith</title>", '<script type="module" src="page/app.js"></script>']


def test_a_text_is_continued_by_a_base_model_and_another_until_one_is_chosen(talked: Opened, browser: Any) -> None:
    talked.ask("DELETE", "/studio/api/marks")
    seen = TalkPage(browser, talked, path="talk?model=base")
    page, columns = seen.page, seen.page.locator(".column")
    seen.button("Compare").click()
    page.get_by_role("group", name="Compare").get_by_role("combobox").select_option("chat")
    page.get_by_label("Hide names until you choose").uncheck()
    asked: list[dict[str, Any]] = []
    page.on("request", lambda one: "/v1/completions" in one.url and asked.append(one.post_data_json))
    seen.say("The smith ")
    seen.ended()
    assert {one["model"] for one in asked} == {"base", "chat"}
    assert {one["prompt"] for one in asked} == {"The smith "}
    expect(page.locator("#hint")).to_contain_text("Choose how the text goes on")
    expect(page.locator(".verdicts")).to_contain_text("Improve does not learn from it")
    assert seen.violations() == []
    page.reload()
    texts = [columns.nth(number).locator(".words").inner_text() for number in range(2)]
    seen.button("Go on with chat").click()
    expect(columns).to_have_count(0)
    expect(page.locator(".document .assistant")).to_contain_text(texts[1].strip())
    # The choice is kept, apart from what models can be tuned by here, and goes along as plain text.
    seen.has_marks("second")
    (mark,) = seen.marks()
    assert (mark["kind"], mark["prompt"]) == ("continuation", [{"role": "text", "content": "The smith "}])
    assert [one["model"] for one in mark["answers"]] == ["base", "chat"]
    assert talked.get("marks/counts")["examples"] == {"sft": 0, "dpo": 0, "kto": 0, "continuation": 1}
    assert talked.get("improve")["models"] == []
    listed = seen.open("marks")
    expect(listed.locator(".marks")).to_contain_text("chat, the better one")
    with listed.expect_download() as download:
        seen.button("Continuations (1)", listed).click()
    chosen, rejected = (mark["answers"][number]["text"] for number in (1, 0))
    record = {"prompt": "The smith ", "chosen": chosen, "rejected": rejected}
    assert json.loads(download.value.path().read_text()) == record
    listed.close()
    seen.button("Take back").click()
    seen.has_marks()
    # The text goes on, and is compared again.
    seen.say("")
    seen.ended()
    assert asked[-1]["prompt"].startswith("The smith ")
    assert len(asked) == 4
    expect(columns).to_have_count(2)
    seen.close()
