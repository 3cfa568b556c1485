"""Calls without tags, as Llama's and Mistral's chat templates write them: constrained, read, and sent back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from gptsmith.generate.structured_output import GrammarCompiler
from gptsmith.serve.chat.answer import AnswerParser, Part, Words, whole_answer
from gptsmith.serve.chat.schemas.chat import ChatRequest
from gptsmith.serve.chat.tools import ToolCall, Toolset, request_toolset
from gptsmith.serve.openai.chat import ChatCompletionJob
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.text import call_forms
from gptsmith.text.call_forms import LLAMA, MISTRAL, CallForm
from gptsmith.text.chat_template import CHATML, ChatTemplate

from ..conftest import QUESTION, Served

SPECIAL = "<|im_start|>"
"""A special token that the tests' tokenizer has, in the place of [TOOL_CALLS]."""
MARKED = dataclasses.replace(MISTRAL, token=SPECIAL)
TOOLS = "{% if tools is defined and tools %}{{ tools | tojson }}\n{% endif %}"
TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
OPEN = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
LLAMA_TEMPLATE = (
    TOOLS + "{% for m in messages %}{% if m.tool_calls is defined %}"
    "{% if m.tool_calls | length != 1 %}{{ raise_exception('This model only supports single tool-calls at once!') }}"
    "{% endif %}<|im_start|>assistant\n{% set call = m.tool_calls[0].function %}"
    '{{ \'{"name": "\' + call.name + \'", "parameters": \' }}{{ call.arguments | tojson }}{{ "}" }}<|im_end|>\n'
    "{% else %}" + TURN + "{% endif %}{% endfor %}" + OPEN
)
"""The parts of Llama 3.1's that matter here."""
MISTRAL_TEMPLATE = (
    TOOLS + "{% for m in messages %}{% if m.tool_calls is defined %}{{ '[TOOL_CALLS] [' }}"
    "{% for call in m.tool_calls %}{% set out = call.function | tojson %}{{ out[:-1] }}"
    "{% if call.id | length != 9 %}{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}"
    "{% endif %}{{ ', \"id\": \"' + call.id + '\"}' }}{% if not loop.last %}{{ ', ' }}{% else %}{{ ']' }}{% endif %}"
    "{% endfor %}<|im_end|>{% else %}" + TURN + "{% endif %}{% endfor %}" + OPEN
)
"""The parts of Mistral 7B Instruct v0.3's that matter here."""
TEMPLATES = {
    LLAMA: LLAMA_TEMPLATE,
    MISTRAL: MISTRAL_TEMPLATE,
    MARKED: MISTRAL_TEMPLATE.replace("[TOOL_CALLS]", SPECIAL),
}
SCHEMA = {"type": "object", "properties": {"tool": {"enum": ["nail", "{}"]}}, "required": ["tool"]}
FORGE = {"type": "function", "function": {"name": "forge", "description": "Makes it.", "parameters": SCHEMA}}
SELL = {"type": "function", "function": {"name": "sell"}}
NAIL, BRACES = '{"tool": "nail"}', '{"tool": "{}"}'
CALL = '{"name": "forge", "parameters": %s}'
LISTED = '{"name": "forge", "arguments": %s}'
ONE, TWO = ToolCall("forge", NAIL, False), ToolCall("forge", BRACES, False)


@pytest.fixture(params=[LLAMA, MISTRAL, MARKED], ids=["llama", "mistral", "mistral with its token"])
def form(request: pytest.FixtureRequest, served: Served, monkeypatch: pytest.MonkeyPatch) -> CallForm:
    """A form in which the model `chat` writes its calls, for one test."""
    found: CallForm = request.param
    monkeypatch.setattr(call_forms, "CALL_FORMS", (MARKED, MISTRAL, LLAMA))
    monkeypatch.setattr(served.state.models.loaded["chat"].loaded, "template", ChatTemplate(TEMPLATES[found]))
    return found


def toolset(form: CallForm | None, special_tokens: dict[str, int], **more: Any) -> Toolset:
    asked = {"messages": QUESTION, "tools": [FORGE, SELL], **more}
    found = request_toolset(ChatRequest.model_validate(asked))
    assert found is not None
    found.write_as(form, special_tokens)
    return found


def test_the_form_is_that_of_the_template() -> None:
    assert ChatTemplate(LLAMA_TEMPLATE).call_form == LLAMA
    assert ChatTemplate(MISTRAL_TEMPLATE).call_form == MISTRAL
    for source in (CHATML, TOOLS + TURN.join(["{% for m in messages %}", "{% endfor %}"])):
        assert ChatTemplate(source).call_form is None


@pytest.mark.parametrize(
    ("form", "special", "text", "parts"),
    [
        (LLAMA, {}, CALL % NAIL, [ONE]),
        (LLAMA, {}, "\n" + CALL % BRACES + "\n", [TWO]),
        (LLAMA, {}, "I say " + CALL % NAIL, [Words("I say " + CALL % NAIL)]),
        (LLAMA, {}, '{"name": "fly", "parameters": {}}', [Words('{"name": "fly", "parameters": {}}')]),
        (LLAMA, {}, '{"name": "sell", "parameters": {}}', [ToolCall("sell", "{}", False)]),
        (LLAMA, {}, "Well.", [Words("Well.")]),
        (MISTRAL, {}, f"[TOOL_CALLS][{LISTED % NAIL}, {LISTED % BRACES}]", [ONE, TWO]),
        (MISTRAL, {"[TOOL_CALLS]": 5}, f"[{LISTED % NAIL}, {LISTED % BRACES}]", [ONE, TWO]),
        (MISTRAL, {"[TOOL_CALLS]": 5}, f" [{LISTED % NAIL}]", [ONE]),
        (MISTRAL, {"[TOOL_CALLS]": 5}, "[1, 2]", [Words("[1, 2]")]),
    ],
)
def test_calls_are_read_wherever_the_text_is_cut(
    form: CallForm, special: dict[str, int], text: str, parts: list[Part]
) -> None:
    tools = toolset(form, special)
    assert whole_answer(AnswerParser(tools), text, is_cut=False) == parts
    for place in range(len(text)):
        parser = AnswerParser(tools)
        found = [*parser.feed(text[:place]), *parser.feed(text[place:], is_last=True)]
        calls = [part for part in found if isinstance(part, ToolCall)]
        assert calls == [part for part in parts if isinstance(part, ToolCall)]
        words = "".join(part.text for part in found if isinstance(part, Words))
        assert words == "".join(part.text for part in parts if isinstance(part, Words))


def test_a_call_that_is_cut_off_has_what_there_is_of_its_arguments() -> None:
    tools = toolset(LLAMA, {})
    start = '{"name": "forge", "parameters": '
    for rest, arguments in (('{"tool": "na', '{"tool": "na'), (NAIL, NAIL)):
        assert whole_answer(AnswerParser(tools), start + rest, is_cut=True) == [ToolCall("forge", arguments, False)]
    assert whole_answer(AnswerParser(tools), start[:12], is_cut=True) == []


def allows(served: Served, tools: Toolset, text: str) -> bool:
    """Whether a whole text may be generated; `<|im_start|>` is the special token."""
    model = served.state.models.loaded["chat"]
    tokenizer = model.tokenizer
    grammar = GrammarCompiler(tokenizer, model.vocab_size).compile(tools.constraint(None))
    ids: list[int] = []
    for number, part in enumerate(text.split(SPECIAL)):
        ids += [tokenizer.special_tokens[SPECIAL]] * (number > 0) + tokenizer.encode(part)
    for token in ids:
        if not grammar.allowed_tokens()[token]:
            return False
        grammar.accept(token)
    return grammar.is_complete or bool(grammar.allowed_tokens()[tokenizer.eos_token_id])


def test_a_text_is_calls_or_does_not_begin_as_one(served: Served) -> None:
    tokens = served.state.models.loaded["chat"].tokenizer.special_tokens
    for form, begin, call, end in (
        (LLAMA, "", CALL, ""),
        (MISTRAL, "[TOOL_CALLS][", LISTED, "]"),
        (MARKED, f"{SPECIAL}[", LISTED, "]"),
    ):
        free, bound = toolset(form, tokens), toolset(form, tokens, tool_choice="required")
        good = begin + call % NAIL + end
        assert allows(served, free, good)
        assert allows(served, bound, good)
        assert allows(served, free, "A nail: [1].")
        assert not allows(served, bound, "A nail: [1].")
        for wrong in (begin + call % '{"tool": "sword"}' + end, begin + call.replace("forge", "fly") % NAIL + end):
            assert not allows(served, free, wrong)
        several = begin + ", ".join([call % NAIL, call % BRACES]) + end
        assert allows(served, bound, several) == (form is not LLAMA)
        assert not allows(served, toolset(form, tokens, parallel_tool_calls=False), several)


def test_a_required_call_comes_back_as_one_and_can_be_sent_again(served: Served, form: CallForm) -> None:
    asked: dict[str, Any] = {"model": "chat", "messages": QUESTION, "tools": [FORGE], "seed": 3, "max_tokens": 200}
    asked |= {"tool_choice": "required", "parallel_tool_calls": False}
    (choice,) = served.ask("POST", "/v1/chat/completions", asked).json["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(call["function"]["arguments"])["tool"] in ("nail", "{}")
    stream = list(served.client().chat.completions.create(**asked, stream=True))
    deltas = [delta for part in stream for delta in part.choices[0].delta.tool_calls or ()]
    assert [delta.function.arguments for delta in deltas] == [call["function"]["arguments"]]
    again = [*QUESTION, choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": "done"}]
    assert served.ask("POST", "/v1/chat/completions", {**asked, "messages": again, "tool_choice": "none"}).status == 200
    assert served.ask("POST", "/tokenize", {"model": "chat", "messages": again}).status == 200
    model = served.state.models.loaded["chat"]
    body = ChatCompletionRequest.model_validate({**asked, "messages": again, "max_tokens": 9})
    job = ChatCompletionJob(body, model)
    written = model.tokenizer.decode(job.prompt().token_ids, keep_special=True)
    assert form.before("forge") + call["function"]["arguments"] in written
    assert form.call_id(call["id"]) in written or form is LLAMA
