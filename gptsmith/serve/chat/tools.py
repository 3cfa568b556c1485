"""Tools of a request: which may be called, how they are described to the model, and the grammar of its calls, which
makes sure that arguments are of the tool's schema."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.base.json_text import json_text
from gptsmith.generate.request import Constraint
from gptsmith.serve.chat.generation_schema import arguments_schema
from gptsmith.serve.chat.schemas.chat import (
    AllowedChoice,
    ChatRequest,
    CustomChoice,
    CustomTool,
    FunctionChoice,
    FunctionTool,
    Tool,
    ToolChoice,
)
from gptsmith.serve.chat.structured_output import (
    grammar_constraint,
    json_schema_constraint,
    response_format_constraint,
)
from gptsmith.serve.errors import refused
from gptsmith.text.call_forms import CallForm
from gptsmith.text.tool_calls import OPEN, CallFrame, introduction

BEGIN = f"{OPEN}\n"
"""The beginning of every call."""
MAX_CALLS = 8
ANY_WORDS = f"/(?s:.*)/ & ~/(?s:.*{OPEN}.*)/"
ANY_INPUT = "/(?s:.*)/ & ~/(?s:.*<\\/tool_call>.*)/"
NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
FORMAT_PART = "response_format"
"""The name of the constraint of an answer without calls. Those of the input of tools begin differently."""


@dataclass(frozen=True)
class ToolCall:
    """A call in a generated text: the arguments of a function as JSON, or the text for a custom tool."""

    name: str
    text: str
    is_custom: bool


class Toolset:
    """The tools that may be called in one answer."""

    def __init__(self, tools: Sequence[Tool], choice: ToolChoice | None, is_parallel: bool) -> None:
        """
        Raises:
            ApiError: two have one name, or one that is to be called is not there.
        """
        self.by_name: dict[str, FunctionTool | CustomTool] = {}
        for tool in tools:
            name = tool.function.name if isinstance(tool, FunctionTool) else tool.custom.name
            if name in self.by_name:
                raise refused("tools", f"two tools are called {name}")
            self.by_name[name] = tool
        self.is_required, allowed = choice == "required", set(self.by_name)
        if isinstance(choice, FunctionChoice | CustomChoice):
            self.is_required, allowed, is_parallel = True, {_chosen(choice)}, False
        elif isinstance(choice, AllowedChoice):
            self.is_required = choice.allowed_tools.mode == "required"
            allowed = {_chosen(one) for one in choice.allowed_tools.tools}
        if missing := sorted(allowed - self.by_name.keys()):
            raise refused("tool_choice", f"no tool is called {missing[0]}")
        self.by_name = {name: tool for name, tool in self.by_name.items() if name in allowed}
        self.is_parallel = is_parallel
        self.form: CallForm | None = None
        self.special_tokens: Mapping[str, int] = {}

    def write_as(self, form: CallForm | None, special_tokens: Mapping[str, int]) -> None:
        """Has calls written in the form of a chat template; without one, in tags."""
        self.form, self.special_tokens = form, special_tokens

    def introduction(self) -> str:
        """The description of the tools for the system message."""
        return introduction(self.described())

    def described(self) -> list[dict[str, Any]]:
        """The tools as a chat template takes them."""
        return [tool.model_dump(exclude_none=True) for tool in self.by_name.values()]

    @property
    def has_custom(self) -> bool:
        """Whether one takes text instead of JSON."""
        return any(isinstance(tool, CustomTool) for tool in self.by_name.values())

    def constraint(self, response_format: Any) -> Constraint:
        """The constraint of an answer: calls; if none is required, words before them, or a text of the response format.

        Raises:
            ApiError: a schema is missing or not JSON.
        """
        if self.form is not None:
            return self._untagged_constraint(self.form, response_format)
        parts: dict[str, Constraint] = {}

        def named(name: str, rule: Constraint | None, otherwise: str) -> str:
            if rule is None:
                return otherwise
            parts[name] = rule
            return f"@{name}"

        calls = []
        for name, tool in self.by_name.items():
            frame = CallFrame(name, isinstance(tool, CustomTool))
            given = named(f"tool-{name}", _input_constraint(tool), "ANY_INPUT")
            calls.append(f"({json_text(frame.before.removeprefix(BEGIN))} {given} {json_text(frame.after)})")
        form = None if self.is_required else response_format_constraint(response_format)
        answer, begin = [], json_text(BEGIN)
        if form is not None:
            answer = [named(FORMAT_PART, form, "")]
        elif not self.is_required:
            answer, begin = ["WORDS"], "words_before"
        more = f' ("\\n" {json_text(BEGIN)} call){{0,{MAX_CALLS - 1}}}'
        lines = [
            f"start: {' | '.join([*answer, 'calls'])}",
            f"calls: {begin} call{more if self.is_parallel else ''}",
            f"call: {' | '.join(calls)}",
            f"words_before[lazy]: WORDS {json_text(BEGIN)}",
            f"WORDS: {ANY_WORDS}",
            f"ANY_INPUT: {ANY_INPUT}",
        ]
        return Constraint("grammar", "\n".join(lines), parts)

    def _untagged_constraint(self, form: CallForm, response_format: Any) -> Constraint:
        """The constraint of an answer that is calls alone, or if none is required, words or a text of the format.

        Raises:
            ApiError: a schema is missing or not JSON.
        """
        parts: dict[str, Constraint] = {}
        calls = []
        for name, tool in self.by_name.items():
            given = _input_constraint(tool)
            assert given is not None, "custom tools are called in tags"
            parts[f"tool-{name}"] = given
            calls.append(f"({json_text(form.before(name))} @tool-{name} {json_text(form.after)})")
        opening, token = form.opening(self.special_tokens), self.special_tokens.get(form.token)
        more = f"({json_text(form.separator)} call){{0,{MAX_CALLS - 1}}}" if form.separator and self.is_parallel else ""
        begin = " ".join([*([] if token is None else [f"<[{token}]>"]), *([json_text(opening)] if opening else [])])
        answers = ["calls"]
        if not self.is_required:
            rule = response_format_constraint(response_format)
            parts |= {} if rule is None else {FORMAT_PART: rule}
            answers.append("WORDS" if rule is None else f"@{FORMAT_PART}")
        # A token that is no text tells calls from words; without one, words do not begin as a call does.
        taken = "" if token is not None else f" & ~/(?s:\\s*{re.escape(opening or form.before('')[:9])}.*)/"
        lines = [
            f"start: {' | '.join(answers)}",
            f"calls: {begin} call {more} {json_text(form.end) if form.end else ''}",
            f"call: {' | '.join(calls)}",
            f"WORDS: /(?s:.*)/{taken}",
        ]
        return Constraint("grammar", "\n".join(lines), parts)

    @property
    def frames(self) -> list[CallFrame]:
        """The text around the input of each tool."""
        return [CallFrame(name, isinstance(tool, CustomTool)) for name, tool in self.by_name.items()]


def request_toolset(body: ChatRequest) -> Toolset | None:
    """The tools of a request; None if none may be called.

    Raises:
        ApiError: they are not allowed.
    """
    return make_toolset(body.tools or [], body.tool_choice, body.parallel_tool_calls)


def make_toolset(tools: Sequence[Tool], choice: ToolChoice | None, is_parallel: bool | None) -> Toolset | None:
    """The tools that may be called; None if there are none.

    Raises:
        ApiError: there are none, but a choice among them; or they are not allowed.
    """
    if choice is not None and choice not in ("none", "auto") and not tools:
        raise refused("tool_choice", "it needs tools")
    if not tools:
        return None
    toolset = Toolset(tools, choice, is_parallel is not False)
    return None if choice == "none" else toolset


def _chosen(choice: FunctionChoice | CustomChoice) -> str:
    return choice.function.name if isinstance(choice, FunctionChoice) else choice.custom.name


def _input_constraint(tool: FunctionTool | CustomTool) -> Constraint | None:
    """The constraint on the input of a tool; None if it may be any text."""
    if isinstance(tool, FunctionTool):
        function = tool.function
        schema = arguments_schema(function.parameters or NO_ARGUMENTS, function.name, is_strict=bool(function.strict))
        return json_schema_constraint(schema, "tools")
    form = tool.custom.format
    return None if form is None or form.type == "text" else grammar_constraint(form.grammar)
