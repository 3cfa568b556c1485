"""Grammars of Lark's form: for what custom tools are given, and for answers beside tools that need not be called."""

from __future__ import annotations

import re
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

from gptsmith.generate.structured_output import GrammarCompiler
from gptsmith.serve.openai.functions import resolve_tools
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.text.tool_calls import render_call

from ..conftest import QUESTION, Served

SUM = 'start: term ("+" term)*\nterm: NUMBER | "(" start ")"\nNUMBER: /[0-9]/\n'
SPACED_SUM = f"{SUM}%ignore / /\n"
LIST = 'start: item ("," item)*\nitem: NUMBER\nNUMBER: /[a-f]/\n%ignore / /\n'
SELL = {"type": "function", "function": {"name": "sell"}}


def custom(name: str, definition: str) -> dict[str, Any]:
    form = {"type": "grammar", "grammar": {"syntax": "lark", "definition": definition}}
    return {"type": "custom", "custom": {"name": name, "format": form}}


def first_refused(served: Served, text: str, **fields: Any) -> str | None:
    """The part of a text that a rule refuses, from its first token that may not follow; nothing where all may, and the
    text may end there."""
    model = served.state.models.loaded["chat"]
    body = ChatCompletionRequest.model_validate({"model": "chat", "messages": QUESTION, **fields})
    toolset = resolve_tools(body)
    assert toolset
    grammar = GrammarCompiler(model.tokenizer, model.vocab_size).compile(toolset.constraint(body.response_format))
    ids = model.tokenizer.encode(text)
    for number, token in enumerate(ids):
        if grammar.is_complete or not grammar.allowed_tokens()[token]:
            return model.tokenizer.decode(ids[number:])
        grammar.accept(token)
    assert grammar.is_complete or grammar.allowed_tokens()[model.tokenizer.eos_token_id], "it may not end here"
    return None


def test_a_custom_tool_is_given_text_of_its_grammar(client: OpenAI) -> None:
    definition = 'start: "(" DIGIT "+" DIGIT ")"\nDIGIT: /[0-9]/\n'
    tools: Any = [custom("add", definition)]
    for seed in range(3):
        choice = client.chat.completions.create(
            model="chat", messages=QUESTION, tools=tools, seed=seed,  # type: ignore[arg-type]
            tool_choice={"type": "custom", "custom": {"name": "add"}},
        ).choices[0]  # fmt: skip
        (call,) = choice.message.tool_calls or []
        assert choice.finish_reason == "tool_calls"
        assert call.type == "custom"
        opened, one, plus, other, closed = call.custom.input
        assert (opened, plus, closed) == ("(", "+", ")")
        assert one.isdecimal()
        assert other.isdecimal()


def test_a_response_calls_a_custom_tool_and_reads_what_it_gave(client: OpenAI) -> None:
    form = {"type": "grammar", "syntax": "lark", "definition": 'start: "(" /[0-9]/ ")"'}
    asked: dict[str, Any] = {
        "model": "chat",
        "tools": [{"type": "custom", "name": "add", "format": form}],
        "temperature": 0,
    }
    choice = {"type": "custom", "name": "add"}
    (call,) = client.responses.create(**asked, input="5: a nail?", tool_choice=choice).output
    assert call.type == "custom_tool_call"
    assert re.fullmatch(r"\([0-9]\)", call.input)
    result = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "done"}
    talk: Any = [
        {"role": "user", "content": "5: a nail?"},
        call.model_dump(exclude_none=True),
        result,
    ]
    assert client.responses.create(**asked, input=talk, max_output_tokens=5).output_text
    events = list(client.responses.create(**asked, input="5: a nail?", tool_choice=choice, stream=True))
    done = next(event for event in events if event.type == "response.custom_tool_call_input.done")
    assert done.input == call.input
    assert "".join(event.delta for event in events if event.type.endswith("input.delta")) == call.input


@pytest.mark.parametrize("definition", [SUM, SPACED_SUM])
def test_each_tool_keeps_to_its_own_grammar_and_words_stay_free(served: Served, definition: str) -> None:
    # Both grammars have a rule of the same name, which means something else in each.
    tools = {"tools": [custom("add", definition), custom("list", LIST), SELL]}
    calls = [render_call("add", "(1+2)+3", is_custom=True), render_call("list", "a, b,c", is_custom=True)]
    for text in ("The smith forges.", *calls, "\n".join(calls), render_call("sell", "{}")):
        assert first_refused(served, text, **tools) is None
    for name, given, refused in (("add", "1+a", "a"), ("list", "a,1", "1"), ("add", "(1+2\n", "\n")):
        text = render_call(name, given, is_custom=True)
        assert (first_refused(served, text, **tools) or "").startswith(refused)
    spaced = first_refused(served, render_call("add", "1 + 2", is_custom=True), **tools)
    assert (spaced is None) == (definition == SPACED_SUM)


@pytest.mark.parametrize("definition", [SUM, SPACED_SUM])
def test_an_answer_keeps_to_its_grammar_beside_tools_that_may_be_called(served: Served, definition: str) -> None:
    asked = {"tools": [custom("list", LIST), SELL], "response_format": {"type": "grammar", "grammar": definition}}
    for text in ("(1+2)+3", render_call("list", "a,b", is_custom=True), render_call("sell", "{}")):
        assert first_refused(served, text, **asked) is None
    assert first_refused(served, "The smith", **asked)
    assert (first_refused(served, "1+a", **asked) or "").startswith("a")


def test_an_answer_of_a_grammar_comes_back_beside_tools(client: OpenAI) -> None:
    asked: Any = {"tools": [SELL], "response_format": {"type": "grammar", "grammar": 'start: "p" /[qr]{3}/'}}
    choice = client.chat.completions.create(model="chat", messages=QUESTION, temperature=0, **asked).choices[0]  # type: ignore[arg-type]
    if choice.message.tool_calls is None:
        assert (choice.message.content or "")[0] == "p"
        assert set((choice.message.content or "")[1:]) <= {"q", "r"}
    else:
        assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("wrong", "param", "problem"),
    [
        ({"tools": [custom("add", "start: missing")]}, "tools", "tool-add: grammar is not sound"),
        ({"tools": [custom("add", 'begin: "x"')]}, "tools", "no start rule"),
        ({"tools": [custom("add", "start: @other")]}, "tools", "other"),
        ({"tools": [SELL], "response_format": {"type": "grammar", "grammar": "start: ("}}, "response_format", "sound"),
        ({"response_format": {"type": "grammar", "grammar": "start: ("}}, "response_format", "sound"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "odd"}}}]},
            "tools", "tool-f: json_schema is not sound",
        ),
        ({"tools": [SELL], "response_format": {"type": "regex", "regex": "("}}, "response_format", "sound"),
    ],
)  # fmt: skip
def test_a_rule_that_is_not_sound_is_named(client: OpenAI, wrong: dict[str, Any], param: str, problem: str) -> None:
    with pytest.raises(BadRequestError, match=problem) as caught:
        client.chat.completions.create(model="chat", messages=QUESTION, **wrong)  # type: ignore[arg-type]
    assert caught.value.param == param


UNKNOWN_KEYWORDS = {
    "uniqueItems": {"properties": {"a": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}},
    "not": {"properties": {"a": {"type": "string"}, "b": {"not": {}}}},
    "contains": {"properties": {"a": {"type": "array", "contains": {"const": 1}}}},
    "propertyNames": {"propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "string"}},
    "dependentRequired": {"properties": {"a": {"type": "integer"}}, "dependentRequired": {"a": ["b"]}},
    "if": {"properties": {"a": {"type": "integer"}}, "if": {"properties": {"a": {"const": 1}}}, "then": {}},
    "unevaluatedProperties": {"properties": {"a": {"type": "integer"}}, "unevaluatedProperties": False},
    "format": {"properties": {"a": {"type": "string", "format": "binary"}}},
    "pattern": {"properties": {"a": {"type": "string", "pattern": "^(?!x)[a-z]+$"}}},
    "patternProperties": {"patternProperties": {"^(?!x)": {"type": "string"}}},
}


def function(parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters, **more}}


@pytest.mark.parametrize("keyword", UNKNOWN_KEYWORDS)
def test_what_cannot_be_enforced_is_told_and_the_rest_is_enforced(client: OpenAI, keyword: str) -> None:
    schema = UNKNOWN_KEYWORDS[keyword]
    if "properties" in schema:
        schema = {**schema, "properties": {"n": {"enum": [7]}, **schema["properties"]}, "required": ["n"]}
    asked: Any = {"model": "chat", "messages": QUESTION, "tool_choice": "required", "max_tokens": 90}
    choice = client.chat.completions.create(**asked, tools=[function(schema)]).choices[0]
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.arguments.startswith('{"n": 7' if "properties" in schema else "{")
    if keyword in ("format", "uniqueItems", "not", "contains"):
        with pytest.raises(BadRequestError, match="leave out strict") as caught:
            client.chat.completions.create(**asked, tools=[function({**schema, "type": "object"}, strict=True)])
        assert caught.value.param == "tools"
        form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": {**schema, "type": "object"}}}
        answer = client.chat.completions.create(model="chat", messages=QUESTION, response_format=form, max_tokens=9)  # type: ignore[arg-type]
        assert (answer.choices[0].message.content or "").startswith('{"n": 7')


NESTED = {
    "$defs": {"spot": {"type": "object", "properties": {"x": {"type": "integer"}}}},
    "properties": {"at": {"$ref": "#/$defs/spot"}, "all": {"type": "array", "items": {"properties": {}}}},
    "required": ["at"],
}


@pytest.mark.parametrize(
    ("schema", "arguments", "refused"),
    [
        ({"properties": {"a": {"type": "integer"}}, "required": ["a"]}, '{"a": 1}', None),
        ({"properties": {"a": {"type": "integer"}}}, '{"a": 1, "b": 2}', ', "b"'),
        ({"properties": {"a": {"type": "integer"}}}, "0.000", "0.000"),
        ({"type": ["object", "null"], "properties": {}}, "null", "null"),
        ({"type": "object", "properties": {}, "additionalProperties": True}, '{"b": 2}', None),
        ({"type": "object"}, '{"b": 2}', None),
        (NESTED, '{"at": {"x": 1}, "all": [{}]}', None),
        (NESTED, '{"at": {"x": 1, "y": 2}}', ', "y"'),
        (NESTED, '{"at": {}, "all": [{"z"', '"z"'),
        (
            {"allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {"const": 2}}}]},
            '{"a": 1, "b": 2}', None,
        ),
        ({"properties": {"a": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, '{"b": 2}', None),
    ],
)  # fmt: skip
def test_arguments_are_an_object_of_the_named_properties(
    served: Served, schema: dict[str, Any], arguments: str, refused: str | None
) -> None:
    found = first_refused(served, render_call("f", arguments), tools=[function(schema)], tool_choice="required")
    assert (
        found is None if refused is None else (found or "").lstrip().startswith(refused[:1]) or refused in (found or "")
    )


def test_a_tool_whose_arguments_are_no_object_is_refused(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="describe an object") as caught:
        client.chat.completions.create(model="chat", messages=QUESTION, tools=[function({"type": "string"})])  # type: ignore[arg-type, list-item]
    assert caught.value.param == "tools"
