"""Talking to a model on its page: streaming, Stop, branches, continuing, the text mode, settings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from ..conftest import Served, slowed, until
from .chat_page import ChatPage

OpenPage = Callable[..., ChatPage]


def test_the_first_screen_says_what_the_model_is_and_gives_three_prompts_of_its_data(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    welcome = chat.page.locator(".welcome")
    expect(welcome.get_by_role("heading", name="chat")).to_be_visible()
    expect(welcome).to_contain_text("A chat model")
    expect(welcome).to_contain_text("smiths, tuned on talk.jsonl")
    expect(welcome).to_contain_text("768 tokens")
    expect(chat.page.locator(".try")).to_have_count(3)
    chat.page.locator(".try").first.click()
    expect(chat.asked.locator(".words")).to_have_text(chat.bodies()[0]["messages"][0]["content"])
    assert chat.answer()


def test_an_answer_streams_and_is_what_the_api_gives(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Seed", 7)
    chat.set_number("Maximum tokens", 60)
    shown: list[int] = []
    chat.page.expose_function("seen", lambda length: shown.append(length))
    chat.page.evaluate(
        """() => new MutationObserver(() => {
          const words = document.querySelector(".message.assistant .words");
          if (words) window.seen(words.textContent.length);
        }).observe(document.querySelector("#thread"), { childList: true, subtree: true, characterData: true })"""
    )
    with slowed(chat.served.state.models.loaded["chat"].engine, pass_s=0.02):
        chat.ask("5: a nail?")
    (body,) = chat.bodies()
    assert (body["seed"], body["max_tokens"]) == (7, 60)
    answer = chat.served.client().chat.completions.create(
        model="chat", messages=body["messages"], seed=7, max_tokens=60
    )
    (node,) = [one for one in chat.conversation()["nodes"].values() if one["role"] == "assistant"]
    assert node["text"] == answer.choices[0].message.content
    assert len(node["tokens"]) == node["figures"]["tokens"]
    assert len(set(shown)) > 5
    assert sorted(shown) == shown
    expect(chat.page.locator(".message.assistant .figures")).to_contain_text("tokens/s · first after")
    expect(chat.page.locator("#used")).to_contain_text("of 768 tokens")


def test_stop_ends_the_text_on_the_server_too_and_keeps_what_had_come(open_page: OpenPage) -> None:
    chat = open_page(names=["base"])
    chat.set_number("Maximum tokens", 760)
    for stop in (lambda: chat.send.click(), lambda: chat.page.keyboard.press("Escape")):
        with slowed(chat.served.state.models.loaded["base"].engine):
            chat.say("The old smith ")
            chat.writing()
            expect(chat.send).to_have_text("Stop")
            stop()
            chat.ended()
        until(chat.served.is_idle, "the server has nothing to do any more")
        assert chat.served.gauge("gptsmith_num_requests_running") == 0
        expect(chat.page.locator(".below")).to_contain_text("Stopped.")
        assert chat.answer()
        chat.button("New conversation").first.click()


def test_writing_again_makes_versions_with_arrows_between_them(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 20)
    texts = [chat.ask("5: a nail?")]
    for _ in range(2):
        chat.button("Regenerate").click()
        texts.append(chat.answer())
    expect(chat.page.locator(".branches")).to_have_text("3 / 3")
    before = chat.button("Previous version")
    for number in (1, 0):
        before.click()
        expect(chat.page.locator(".branches")).to_have_text(f"{number + 1} / 3")
        expect(chat.answers.locator(".words")).to_have_text(texts[number])
    expect(before).to_be_disabled()
    expect(chat.button("Next version")).to_be_focused()
    until(lambda: kept_version(chat) == 0, "the browser keeps which version is shown")
    chat.page.reload()
    expect(chat.answers.locator(".words")).to_have_text(texts[0])
    expect(chat.page.locator(".branches")).to_have_text("1 / 3")


def kept_version(chat: ChatPage) -> int:
    """Which of the answers to the first question is selected in the conversation that the browser keeps."""
    kept = chat.conversation()
    question = kept["selected"][""]
    return int(kept["nodes"][question]["children"].index(kept["selected"][question]))


def test_an_edited_question_branches_and_the_first_stays(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 20)
    first = chat.ask("5: a nail?")
    chat.ask("And a sword?")
    chat.button("Edit", chat.asked.first).click()
    box = chat.page.get_by_role("textbox", name="The message")
    expect(box).to_have_value("5: a nail?")
    box.fill("6: a plough?")
    chat.button("Send", chat.asked.first).click()
    chat.ended()
    expect(chat.asked.locator(".words")).to_have_text(["6: a plough?"])
    assert chat.bodies()[-1]["messages"] == [{"role": "user", "content": "6: a plough?"}]
    chat.button("Previous version").click()
    expect(chat.asked.locator(".words")).to_have_text(["5: a nail?", "And a sword?"])
    expect(chat.answers.first.locator(".words")).to_have_text(first)


def test_an_edited_answer_branches_and_the_model_goes_on_from_it(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 12)
    chat.ask("5: a nail?")
    chat.button("Edit", chat.answers).click()
    chat.page.get_by_role("textbox", name="The message").fill("The smith for")
    chat.button("Keep").click()
    expect(chat.answers.locator(".words")).to_have_text("The smith for")
    expect(chat.page.locator(".branches")).to_have_text("2 / 2")
    chat.button("Continue", chat.answers).click()
    chat.ended()
    body = chat.bodies()[-1]
    assert body["continue_final_message"] is True
    assert body["messages"][-1] == {"role": "assistant", "content": "The smith for"}
    assert chat.answer().startswith("The smith for")
    assert len(chat.answer()) > len("The smith for")


def test_an_edit_can_be_left(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 5)
    chat.ask("5: a nail?")
    chat.button("Edit", chat.asked).click()
    box = chat.page.get_by_role("textbox", name="The message")
    box.fill("other")
    box.press("Escape")
    expect(chat.asked.locator(".words")).to_have_text("5: a nail?")
    expect(chat.button("Edit", chat.asked)).to_be_focused()
    assert len(chat.bodies()) == 1


def test_a_system_prompt_goes_before_the_conversation(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 5)
    chat.page.get_by_label("System prompt").fill("Be brief.")
    chat.ask("5: a nail?")
    assert chat.bodies()[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    chat.page.reload()
    expect(chat.page.get_by_label("System prompt")).to_have_value("Be brief.")


def test_every_setting_is_sent_as_the_api_names_it(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    wanted = {
        "Temperature": ("temperature", 0.5),
        "Top-p": ("top_p", 0.9),
        "Top-k": ("top_k", 40),
        "Min-p": ("min_p", 0.05),
        "Repetition penalty": ("repetition_penalty", 1.1),
        "Frequency penalty": ("frequency_penalty", 0.2),
        "Presence penalty": ("presence_penalty", -0.2),
    }
    for label, (_, value) in wanted.items():
        chat.set_number(f"{label}, as a number", value)
    chat.set_number("Seed", 3)
    chat.set_number("Maximum tokens", 6)
    panel = chat.page.locator("#panel")
    panel.get_by_label("Stop at").fill("one\ntwo words")
    panel.get_by_label("Logit bias").fill("e=-100\nThe=2.5")
    panel.get_by_label("Logit bias").blur()
    panel.get_by_label("Structured output").select_option("regex")
    panel.get_by_label("Schema or regular expression").fill("[a-z ]{3,20}")
    until(lambda: any(one.url.endswith("/tokenize") for one in chat.requests), "the biased tokens are looked up")
    expect(panel.locator(".problem").first).to_be_empty()
    chat.page.wait_for_load_state("networkidle")
    chat.ask("5: a nail?")
    (body,) = chat.bodies()
    assert {name: body[name] for name, _ in wanted.values()} == dict(wanted.values())
    assert body["stop"] == ["one", "two words"]
    assert sorted(body["logit_bias"].values()) == [-100, 2.5]
    assert body["response_format"] == {"type": "regex", "regex": "[a-z ]{3,20}"}
    node = next(one for one in chat.conversation()["nodes"].values() if one["role"] == "assistant")
    assert "e" not in [token["text"] for token in node["tokens"]]
    chat.button("Reset to defaults").click()
    chat.set_number("Maximum tokens", 6)
    chat.ask("6: a nail?")
    assert not {*dict(wanted.values()), "stop", "logit_bias", "response_format", "seed"} & chat.bodies()[-1].keys()


def test_settings_that_cannot_be_are_said_or_kept_in_their_range(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Temperature, as a number", 9)
    chat.page.get_by_label("Temperature, as a number").blur()
    expect(chat.page.get_by_label("Temperature, as a number")).to_have_value("2")
    panel = chat.page.locator("#panel")
    for written, said in (("word", "token=number"), ("the old smith sells a nail=1", "tokens to this model")):
        panel.get_by_label("Logit bias").fill(written)
        panel.get_by_label("Logit bias").blur()
        expect(panel.get_by_text(said)).to_be_visible()
    panel.get_by_label("Structured output").select_option("json_schema")
    panel.get_by_label("Schema or regular expression").fill("{")
    expect(panel.get_by_text("This is not JSON yet.")).to_be_visible()


def test_a_base_model_goes_on_with_text_part_by_part(open_page: OpenPage) -> None:
    chat = open_page(names=["base"])
    expect(chat.page.locator(".welcome")).to_contain_text("A base model")
    chat.set_number("Maximum tokens", 12)
    first = chat.ask("The old smith")
    chat.send.click()
    expect(chat.answers).to_have_count(2)
    second = chat.answer()
    assert [body["prompt"] for body in chat.bodies()] == ["The old smith", f"The old smith{first}"]
    expect(chat.page.locator(".document")).to_contain_text(f"The old smith{first}{second}", use_inner_text=False)
    chat.button("Regenerate").click()
    chat.ended()
    expect(chat.page.locator(".branches")).to_have_text("2 / 2")
    more = "Edit, regenerate or see versions"
    chat.button(more, chat.asked).click()
    chat.button("Edit", chat.page.get_by_role("dialog")).click()
    chat.page.get_by_role("textbox", name="The message").fill("The young smith")
    chat.button("Keep").click()
    expect(chat.page.locator(".part")).to_have_count(1)
    chat.send.click()
    expect(chat.answers).to_have_count(1)
    chat.ended()
    assert chat.bodies()[-1]["prompt"] == "The young smith"


def test_a_chat_model_goes_on_with_text_where_that_is_chosen(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.button("Continues text").click()
    chat.set_number("Maximum tokens", 8)
    chat.ask("The old smith")
    (body,) = chat.bodies()
    assert body["prompt"] == "The old smith"


def test_the_model_can_be_chosen_and_a_conversation_keeps_its_own(open_page: OpenPage, runs: Path) -> None:
    chat = open_page(names=["chat", "base", "adapted"])
    chat.page.get_by_label("Model", exact=True).select_option("adapted")
    chat.set_number("Maximum tokens", 5)
    chat.ask("5: a nail?")
    assert chat.bodies()[0]["model"] == "adapted"
    expect(chat.page.locator(".message.assistant .author")).to_have_text("adapted")
    assert chat.page.locator("#model option[value=base]").is_disabled()
    chat.page.reload()
    expect(chat.page.get_by_label("Model", exact=True)).to_have_value("adapted")


def test_what_does_not_fit_in_the_context_is_left_out_and_that_is_said(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 4)
    for number in range(3):
        chat.ask(f"{number}: " + "the old smith sells a nail of iron and a plough of steel and " * 20)
    expect(chat.answers.last).to_contain_text("The oldest 4 messages were omitted: the context of the model has 768")
    body = chat.bodies()[-1]
    assert body["truncation"] == "auto"
    assert [one["content"][:2] for one in body["messages"] if one["role"] == "user"] == ["0:", "1:", "2:"]
    counted = [json.loads(one.post_data)["messages"] for one in chat.requests if one.url.endswith("/tokenize")]
    assert {len(messages) for messages in counted} == {1}  # whether a message fits; the usage is the server's
    base = open_page(names=["base"])
    base.set_number("Maximum tokens", 4)
    base.ask("The old smith sells a nail of iron and a plough of steel. " * 90)
    expect(base.page.locator(".below")).to_contain_text("tokens were omitted")
    expect(base.page.locator("#used")).to_contain_text("768 of 768 tokens")


def test_a_conversation_goes_on_being_written_while_another_is_shown(open_page: OpenPage) -> None:
    chat = open_page(names=["base"])
    chat.set_number("Maximum tokens", 300)
    with slowed(chat.served.state.models.loaded["base"].engine):
        chat.say("The old smith")
        chat.writing()
        chat.button("New conversation").first.click()
        expect(chat.page.locator(".welcome")).to_be_visible()
        expect(chat.page.locator(".dot")).to_have_count(1)
    expect(chat.page.locator(".dot")).to_have_count(0)
    chat.page.locator(".conversation").click()
    node = next(one for one in chat.conversation()["nodes"].values() if one["role"] == "assistant")
    assert len(node["tokens"]) > 30
    expect(chat.answers.locator(".words")).to_have_text(node["text"], use_inner_text=False)


def test_enter_that_ends_the_writing_of_a_character_sends_nothing(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.words.fill("に")
    chat.words.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    chat.words.dispatch_event("keydown", {"key": "Enter", "keyCode": 229, "bubbles": True})
    chat.words.press("Shift+Enter")
    assert chat.bodies() == []
    expect(chat.words).to_have_value("に\n")


def test_keys_of_an_input_method_do_nothing_anywhere(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 5)
    chat.ask("5: a nail?")
    composing = {"isComposing": True, "bubbles": True, "cancelable": True}
    chat.button("Edit", chat.asked).click()
    box = chat.page.get_by_role("textbox", name="The message")
    box.dispatch_event("keydown", {"key": "Escape", **composing})
    box.dispatch_event("keydown", {"key": "Enter", "ctrlKey": True, **composing})
    expect(box).to_be_visible()
    chat.button("Cancel", chat.asked).click()
    chat.page.locator("#panel textarea").first.dispatch_event("keydown", {"key": "Escape", **composing})
    expect(chat.page.locator("#panel")).to_be_visible()
    assert len(chat.bodies()) == 1


def test_thoughts_are_folded_below_their_answer(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    made = chat.page.evaluate("""async () => {
      const {AnswerView} = await import("/page/thoughts.js");
      const words = document.createElement("div");
      words.className = "words";
      document.body.append(words);
      const view = new AnswerView(words);
      const seen = [];
      const whole = "<think>\\nIt is *Paris*.\\n</think>\\n\\nParis.";
      for (const end of [6, 12, whole.length]) {
        view.update(whole.slice(0, end));
        const details = words.querySelector("details");
        seen.push([details.hidden, details.open, details.querySelector("summary").textContent, words.innerText.trim()]);
      }
      view.update("No thoughts <think>");
      seen.push([words.querySelector("details").hidden, words.innerText.trim()]);
      return seen;
    }""")
    assert made == [
        [True, False, "", "<think"],
        [False, False, "Thinking …", "Thinking …"],
        [False, False, "Thoughts", "Thoughts\n\nParis."],
        [True, "No thoughts <think>"],
    ]


def test_a_text_of_a_base_model_offers_a_conversation_when_a_chat_model_is_chosen(open_page: OpenPage) -> None:
    chat = open_page(names=["base", "chat"])
    chat.page.locator("#model").select_option("base")
    chat.set_number("Maximum tokens", 5)
    chat.ask("The old smith")
    chat.page.locator("#model").select_option("chat")
    expect(chat.page.get_by_text("chat answers messages. Here it only continues the text.")).to_be_visible()
    chat.button("New conversation").last.click()
    expect(chat.words).to_have_attribute("placeholder", "Ask chat")
    chat.ask("5: a nail?")
    assert [one["mode"] for one in chat.conversations()] == ["chat", "text"]


def test_a_classifier_is_not_offered_and_alone_the_page_says_what_it_is_for(open_page: OpenPage) -> None:
    both = open_page(names=["labels", "chat"])
    expect(both.words).to_have_attribute("placeholder", "Ask chat")
    assert both.page.locator("option", has_text="labels").count() == 0
    alone = open_page(names=["labels"])
    expect(
        alone.page.get_by_text("No model here writes text: classifiers label texts, at /v1/classify.")
    ).to_be_visible()


def test_sending_nothing_writes_nothing_in_a_conversation_and_a_beginning_in_a_text(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.say("   ")
    assert chat.send.is_disabled()
    chat.set_number("Maximum tokens", 5)
    chat.ask("5: a nail?")
    chat.button("Edit", chat.asked).click()
    chat.page.get_by_role("textbox", name="The message").fill(" ")
    chat.button("Send", chat.asked).click()
    expect(chat.asked.locator(".words")).to_have_text("5: a nail?")
    assert len(chat.bodies()) == 1
    text = open_page(names=["base"])
    text.set_number("Maximum tokens", 5)
    text.send.click()
    expect(text.answers).to_have_count(1)
    text.ended()
    assert text.bodies()[0]["prompt"] == ""


def test_half_a_character_is_sent_as_a_sign_of_it(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 5)
    chat.page.evaluate(
        """() => {
          const words = document.querySelector("#words");
          words.value = "a nail \\ud83d?";
          words.dispatchEvent(new Event("input"));
        }"""
    )
    chat.words.press("Enter")
    expect(chat.answers).to_have_count(1)
    chat.ended()
    assert chat.bodies()[0]["messages"][0]["content"] == "a nail \ufffd?"


def test_what_is_open_over_the_page_does_not_act_on_what_is_written_after(open_page: OpenPage) -> None:
    chat = open_page(names=["base"])
    chat.set_number("Maximum tokens", 20)
    chat.ask("The old smith")
    chat.button("Probabilities").click()
    chat.page.locator(".token").first.click()
    dialog = chat.page.get_by_role("dialog", name="Alternatives")
    expect(dialog).to_be_visible()
    chat.words.focus()
    expect(dialog).to_have_count(0)


def test_escape_is_for_what_is_open_and_then_for_the_text(open_page: OpenPage) -> None:
    chat = open_page(names=["base"])
    chat.set_number("Maximum tokens", 8)
    chat.ask("The old smith")
    chat.slow_down("/v1/completions")
    chat.send.click()
    expect(chat.send).to_have_text("Stop")
    chat.button("More for The old smith").click()
    chat.button("Rename").click()
    for _ in range(2):
        expect(chat.send).to_have_text("Stop")
        if chat.page.locator("dialog").count():
            chat.page.keyboard.press("Escape")
            expect(chat.page.locator("dialog")).to_have_count(0)
            chat.page.get_by_label("Search conversations").focus()
            chat.page.keyboard.press("Escape")
    chat.words.focus()
    chat.page.keyboard.press("Escape")
    chat.ended()


def test_a_double_click_sends_and_does_not_stop(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 5)
    chat.words.fill("5: a nail?")
    chat.send.dblclick()
    assert chat.answer()
    expect(chat.answers.last).not_to_contain_text("Stopped")


def test_a_bias_is_of_words_whatever_model_reads_them(open_page: OpenPage) -> None:
    chat = open_page(names=["chat", "adapted"])
    chat.set_number("Maximum tokens", 5)
    panel = chat.page.locator("#panel")
    panel.get_by_label("Logit bias").fill("The=-100")
    panel.get_by_label("Logit bias").blur()
    until(lambda: any(one.url.endswith("/tokenize") for one in chat.requests), "the token is looked up")
    chat.page.wait_for_load_state("networkidle")
    chat.ask("5: a nail?")
    chat.page.get_by_label("Model", exact=True).select_option("adapted")
    chat.ask("6: a nail?")
    asked = [json.loads(one.post_data) for one in chat.requests if one.url.endswith("/tokenize")]
    assert [one["model"] for one in asked if one.get("prompt") == "The"] == ["chat", "chat", "adapted"]
    assert [list(body["logit_bias"].values()) for body in chat.bodies()] == [[-100], [-100]]


def test_the_context_is_counted_after_stop_too_and_going_on_adds_up(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 10)
    chat.set_number("Seed", 7)
    chat.ask("5: a nail?")
    chat.button("Continue").click()
    chat.ended()
    node = next(one for one in chat.conversation()["nodes"].values() if one["role"] == "assistant")
    assert node["figures"]["tokens"] == len(node["tokens"])
    text = open_page(names=["base"])
    text.set_number("Maximum tokens", 700)
    with slowed(text.served.state.models.loaded["base"].engine):
        text.say("The old smith")
        text.writing()
        text.send.click()
        text.ended()
    expect(text.page.locator("#used")).to_contain_text("of 768 tokens")


def test_the_first_screen_begins_at_its_top(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"], viewport={"width": 360, "height": 480})
    expect(chat.page.locator(".welcome")).to_be_visible()
    assert chat.page.evaluate("() => document.querySelector('#scroller').scrollTop") == 0
    assert chat.page.evaluate(
        "() => { const s = document.querySelector('#scroller'); return s.scrollHeight > s.clientHeight; }"
    )


def test_a_new_conversation_begins_with_the_numbers_of_the_last_and_says_so(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    expect(chat.page.locator("#open-panel")).not_to_have_class("icon-button is-changed")
    chat.set_number("Temperature, as a number", 0.3)
    chat.set_number("Maximum tokens", 5)
    chat.set_number("Seed", 7)
    expect(chat.page.locator("#open-panel")).to_have_class("icon-button is-changed")
    chat.ask("5: a nail?")
    chat.button("New conversation").first.click()
    expect(chat.page.get_by_label("Temperature, as a number")).to_have_value("0.3")
    expect(chat.page.get_by_label("Seed")).to_have_value("")
    expect(chat.page.locator("#open-panel")).to_have_class("icon-button is-changed")


def test_a_draft_outlives_a_reload(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 4)
    chat.ask("5: a nail?")
    chat.words.fill("half a sent")
    chat.page.reload()
    expect(chat.words).to_have_value("half a sent")
    expect(chat.asked).to_have_count(1)


def test_a_reload_in_the_middle_keeps_what_had_come(open_page: OpenPage, served: Served) -> None:
    chat = open_page(names=["base"])
    chat.set_number("Maximum tokens", 760)
    with slowed(chat.served.state.models.loaded["base"].engine):
        chat.say("The old smith")
        chat.writing()
        expect(chat.answers.locator(".words")).to_have_text(re.compile(".{20}", re.DOTALL), use_inner_text=False)
        shown = chat.answers.locator(".words").text_content()
        chat.page.reload()
    expect(chat.answers.locator(".words")).to_contain_text(shown[:20], use_inner_text=False)
    expect(chat.page.locator(".below")).to_contain_text("was interrupted")
    until(chat.served.is_idle, "a page that was left needs nothing any more")


def test_turns_of_a_conversation_say_that_they_belong_together(open_page: OpenPage) -> None:
    chat = open_page(names=["chat"])
    chat.set_number("Maximum tokens", 3)
    for text in ("5: a nail?", "6: a sword?"):
        chat.ask(text)
    chat.button("New conversation").first.click()
    chat.ask("7: a plough?")
    sent = [one.headers for one in chat.requests if one.url.endswith("/v1/chat/completions")]
    first, second, other = (headers["x-prefix-affinity"] for headers in sent)
    assert first == second != other
