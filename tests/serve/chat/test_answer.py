"""The parts of what a model wrote: thoughts, words and calls, however the text comes and wherever it is cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import OpenAI

from gptsmith.generate.request import OutputChunk, Request, RequestHandle
from gptsmith.serve.chat.answer import AnswerParser, Part, Thoughts, Words, whole_answer
from gptsmith.serve.chat.tools import ToolCall, Toolset
from gptsmith.serve.openai.chat import ChatCompletionJob
from gptsmith.serve.openai.functions import resolve_tools
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.text.chat_template import CHATML, ChatTemplate
from gptsmith.text.tool_calls import render_call

from ..conftest import QUESTION, Served

EXAMPLES = settings(
    max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Rome"]}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
SAY = {"type": "custom", "custom": {"name": "say"}}
ROME = '{"city": "Rome"}'
CALL, SAID = render_call("weather", ROME), render_call("say", "a\nb", is_custom=True)
CALLED, TOLD = ToolCall("weather", ROME, False), ToolCall("say", "a\nb", True)
FRAGMENTS = [CALL, SAID, "<think>", "</think>", "<tool_call>", "</tool_call>", "\n", " ", "<", "<tool", '{"', "}", "a"]
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join)


def toolset(*tools: Any) -> Toolset:
    found = resolve_tools(ChatCompletionRequest.model_validate({"model": "a", "messages": QUESTION, "tools": [*tools]}))
    assert found
    return found


TOOLS = toolset(WEATHER, SAY)


def read(text: str, is_cut: bool = False, **more: Any) -> list[Part]:
    return whole_answer(AnswerParser(TOOLS, **more), text, is_cut=is_cut)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Well.\n", [Words("Well.\n")]),
        (CALL, [CALLED]),
        (f"I will look.\n{CALL}", [Words("I will look."), CALLED]),
        (f"\n {CALL}\n", [CALLED]),
        (f"{CALL}\n{SAID}", [CALLED, TOLD]),
        (f"a {CALL} b\n{SAID}", [Words("a"), CALLED, Words(" b"), TOLD]),
        (f"<think>\nHm.\n</think>\n\n{CALL}", [Thoughts("Hm."), CALLED]),
        (f"\n<think>Hm.\n\nSo.</think> It is.\n{CALL}", [Thoughts("Hm.\n\nSo."), Words("It is."), CALLED]),
        ("<think>\n\n</think>\n\nYes.", [Words("Yes.")]),
        ("<think>\nHm", [Thoughts("Hm")]),
        ("It is <think>.", [Words("It is <think>.")]),
        ("I say <tool_call>", [Words("I say <tool_call>")]),
        ("I say <tool_call>\nfly", [Words("I say <tool_call>\nfly")]),
        (f"a <tool_call> b\n{CALL}", [Words("a <tool_call> b"), CALLED]),
    ],
)
def test_what_stands_around_a_value_is_no_part_of_it(text: str, parts: list[Part]) -> None:
    assert read(text) == parts


def test_thoughts_that_the_prompt_has_opened() -> None:
    assert read("Hm.\n</think>\n\nYes.", begins_in_thoughts=True) == [Thoughts("Hm."), Words("Yes.")]
    assert read("<think>\nHm.\n</think>Yes.", begins_in_thoughts=True) == [Thoughts("Hm."), Words("Yes.")]


def test_without_tools_a_call_is_text() -> None:
    assert whole_answer(AnswerParser(None), CALL, is_cut=False) == [Words(CALL)]


@EXAMPLES
@given(TEXTS, st.lists(st.integers(0, 200)), st.booleans(), st.booleans(), st.booleans())
def test_a_stream_adds_up_to_the_whole(
    text: str, cuts: list[int], is_cut: bool, begins_in_thoughts: bool, has_tools: bool
) -> None:
    tools = TOOLS if has_tools else None
    places = sorted({cut for cut in cuts if cut <= len(text)} | {0, len(text)})
    parser = AnswerParser(tools, begins_in_thoughts=begins_in_thoughts)
    parts = [part for start, end in pairwise(places) for part in parser.feed(text[start:end])] + parser.feed(
        "", is_last=True, is_cut=is_cut
    )
    whole = whole_answer(AnswerParser(tools, begins_in_thoughts=begins_in_thoughts), text, is_cut=is_cut)
    for kind in (Thoughts, Words):
        assert "".join(part.text for part in parts if isinstance(part, kind)) == "".join(
            part.text for part in whole if isinstance(part, kind)
        )
    assert [part for part in parts if isinstance(part, ToolCall)] == [
        part for part in whole if isinstance(part, ToolCall)
    ]


@pytest.mark.parametrize("call", [CALL, SAID])
@pytest.mark.parametrize(
    "before", ["", "\n", "I will look.\n", "<think>\nHm.\n</think>\n\n", "<think>Hm.</think> Yes. "]
)
def test_a_text_that_is_cut_anywhere_has_beginnings_of_its_values(before: str, call: str) -> None:
    text = f"{before}{call}\n{call}"
    whole = read(text)
    for end in range(len(text)):
        parts = read(text[:end], is_cut=True)
        if not text[:end].strip():
            continue
        assert len(parts) <= len(whole)
        for part, known in zip(parts, whole, strict=False):
            assert type(part) is type(known)
            # White space at the end of words that are cut may be the end of a line.
            assert known.text.startswith(part.text.rstrip() if isinstance(part, Words) else part.text)


@pytest.fixture
def writes(served: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the model write a text, a character at a time."""
    engine = served.state.models.loaded["chat"].engine

    def will_write(text: str) -> None:
        def write(request: Request, deliver: Callable[[OutputChunk], None]) -> RequestHandle:
            for sign in text:
                deliver(OutputChunk(sign))
            deliver(OutputChunk(finish_reason="stop"))
            return RequestHandle(len(request.prompt_ids))

        monkeypatch.setattr(engine, "submit", write)

    return will_write


@pytest.mark.parametrize("before", ["I will look.\n", "\n", " ", "", "<think>\nHm.\n</think>\n\n"])
def test_a_call_after_words_comes_back_from_every_route(
    client: OpenAI, writes: Callable[[str], None], before: str
) -> None:
    writes(before + CALL)
    asked: Any = {"model": "chat", "messages": QUESTION, "tools": [WEATHER]}
    choice = client.chat.completions.create(**asked).choices[0]
    words = "I will look." if before.startswith("I") else None
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == words
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.arguments == ROME
    assert (choice.message.model_extra or {}).get("reasoning_content") == ("Hm." if "think" in before else None)
    deltas = [chunk.choices[0] for chunk in client.chat.completions.create(**asked, stream=True)]
    assert "".join(choice.delta.content or "" for choice in deltas) == (words or "")
    (streamed,) = [call for choice in deltas for call in choice.delta.tool_calls or []]
    assert streamed.function
    assert (streamed.index, streamed.function.arguments) == (0, ROME)
    assert deltas[-1].finish_reason == "tool_calls"


def test_a_response_has_an_item_for_each_part(client: OpenAI, writes: Callable[[str], None]) -> None:
    writes(f"<think>\nHm.\n</think>\n\nI will look.\n{CALL}\n{CALL}")
    tools: Any = [{"type": "function", **WEATHER["function"]}]  # type: ignore[dict-item]
    with client.responses.stream(model="chat", input="Weather?", tools=tools) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]
    assert final.output_text == "I will look."
    thoughts, _, one, other = final.output
    assert thoughts.type == "reasoning"
    assert thoughts.content
    assert thoughts.content[0].text == "Hm."
    assert one.type == other.type == "function_call"
    assert json.loads(one.arguments) == {"city": "Rome"}
    answer = client.responses.create(model="chat", input="Weather?", tools=tools)
    assert [item.type for item in answer.output] == [item.type for item in final.output]
    assert answer.output_text == final.output_text
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.id for item in done] == [item.id for item in final.output]
    for kind, whole in (("response.output_text.delta", "I will look."), ("response.reasoning_text.delta", "Hm.")):
        assert "".join(event.delta for event in events if event.type == kind) == whole


def test_thoughts_go_back_to_templates_that_know_them(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    model = served.state.models.loaded["chat"]
    message = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
    body = ChatCompletionRequest.model_validate({"model": "chat", "messages": [*QUESTION, message, *QUESTION]})

    def prompt() -> str:
        return model.tokenizer.decode(list(ChatCompletionJob(body, model).requests()[0].prompt_ids), keep_special=True)

    assert "Hm." not in prompt()
    monkeypatch.setattr(model.loaded, "template", ChatTemplate(CHATML + "{# knows </think> #}"))
    assert "<think>\nHm.\n</think>\n\nYes." in prompt()


def test_a_prompt_that_opens_thoughts_is_seen(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    model = served.state.models.loaded["chat"]
    monkeypatch.setattr(model.loaded, "template", ChatTemplate(CHATML + "{{ '<think>\n' }}"))
    form = {"type": "json_object"}
    for fields, expected in (({}, True), ({"tools": [WEATHER]}, True), ({"response_format": form}, False)):
        body = ChatCompletionRequest.model_validate({"model": "chat", "messages": QUESTION, **fields})
        job = ChatCompletionJob(body, model)
        job.requests()
        assert job.begins_in_thoughts == expected
