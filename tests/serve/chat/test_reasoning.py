"""Effort and verbosity: told to the model in words, or to its template where that asks for them."""

from __future__ import annotations

from typing import Any

import pytest
from openai import OpenAI

from gptsmith.serve.chat.reasoning import EFFORT_INSTRUCTIONS, VERBOSITY_INSTRUCTIONS
from gptsmith.serve.openai.chat import ChatCompletionJob
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.text.chat_template import CHATML, ChatTemplate

from ..conftest import QUESTION, Served

THINKS = CHATML + "{% if enable_thinking is defined and not enable_thinking %}{{ '<think></think>' }}{% endif %}"
WEIGHS = CHATML + "{{ 'Effort: ' + reasoning_effort | default('unsaid') }}"


def prompt_of(served: Served, **fields: Any) -> str:
    """What the model is given."""
    model = served.state.models.loaded["chat"]
    body = ChatCompletionRequest.model_validate({"model": "chat", "messages": QUESTION, **fields})
    return model.tokenizer.decode(ChatCompletionJob(body, model).requests()[0].prompt_ids, keep_special=True)


def told(*sentences: str) -> str:
    return "<|im_start|>system\n" + "\n\n".join(sentences) + "<|im_end|>\n"


@pytest.fixture
def given_template(served: Served, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives the model another template."""
    loaded = served.state.models.loaded["chat"].loaded
    return lambda source: monkeypatch.setattr(loaded, "template", ChatTemplate(source))


@pytest.mark.parametrize("verbosity", ["low", "high"])
def test_verbosity_is_a_sentence_behind_what_the_model_is_told(served: Served, verbosity: str) -> None:
    assert prompt_of(served, verbosity=verbosity) == told(VERBOSITY_INSTRUCTIONS[verbosity]) + prompt_of(served)
    messages = [{"role": "system", "content": "Be kind."}, *QUESTION]
    tools = [{"type": "function", "function": {"name": "sell"}}]
    assert prompt_of(served, verbosity=verbosity, messages=messages, tools=tools).startswith(
        told("Be kind.", VERBOSITY_INSTRUCTIONS[verbosity], "# Tools").removesuffix("<|im_end|>\n")
    )


def test_what_needs_no_words_gets_none(served: Served) -> None:
    assert prompt_of(served, verbosity="medium", reasoning_effort="none") == prompt_of(served)


@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high", "xhigh", "max"])
def test_effort_is_a_sentence_where_the_template_does_not_ask_for_it(
    served: Served, given_template: Any, effort: str
) -> None:
    plain = prompt_of(served)
    assert prompt_of(served, reasoning_effort=effort) == told(EFFORT_INSTRUCTIONS[effort]) + plain
    given_template(THINKS)
    assert prompt_of(served, reasoning_effort=effort) == told(EFFORT_INSTRUCTIONS[effort]) + plain


def test_effort_is_told_to_a_template_that_asks_for_it(served: Served, given_template: Any) -> None:
    plain = prompt_of(served)
    given_template(WEIGHS)
    assert prompt_of(served) == f"{plain}Effort: unsaid"
    for effort in ("none", *EFFORT_INSTRUCTIONS):
        assert prompt_of(served, reasoning_effort=effort) == f"{plain}Effort: {effort}"


def test_no_effort_is_no_thinking(served: Served, given_template: Any) -> None:
    given_template(THINKS)
    assert not prompt_of(served).endswith("<think></think>")
    assert not prompt_of(served, reasoning_effort="low").endswith("<think></think>")
    assert prompt_of(served, reasoning_effort="none").endswith("<think></think>")


def test_each_effort_and_length_has_words_of_its_own() -> None:
    assert len({*EFFORT_INSTRUCTIONS.values(), *VERBOSITY_INSTRUCTIONS.values()}) == len(EFFORT_INSTRUCTIONS) + len(
        VERBOSITY_INSTRUCTIONS
    )


def test_a_response_is_asked_for_in_the_same_manner(client: OpenAI) -> None:
    chat: Any = client.chat.completions.create(
        model="chat", messages=QUESTION, reasoning_effort="high", verbosity="low", max_tokens=5, temperature=0
    )  # type: ignore[call-overload]
    answer = client.responses.create(
        model="chat", input="5: a nail?", reasoning={"effort": "high"}, text={"verbosity": "low"}, max_output_tokens=5,
        temperature=0,
    )  # fmt: skip
    assert answer.output_text == chat.choices[0].message.content
    assert answer.usage
    assert answer.usage.input_tokens == chat.usage.prompt_tokens
    assert answer.reasoning
    assert answer.reasoning.effort == "high"
