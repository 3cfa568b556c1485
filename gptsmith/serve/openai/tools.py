"""Tools: what a model is told of them, the grammar that its calls keep to, and the calls in what it wrote.

The form is that of Qwen's and Hermes' models, `<tool_call>` around a JSON object. It is laid into a conversation as
text, so that any template takes it; the grammar makes sure that the arguments are of the tool's schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.generate.request import Constraint
from gptsmith.serve.errors import refused
from gptsmith.serve.openai.schemas.chat import (
    AllowedChoice,
    ChatCompletionRequest,
    CustomChoice,
    CustomTool,
    FunctionChoice,
    FunctionTool,
    Tool,
    ToolChoice,
)
from gptsmith.serve.openai.structured_output import (
    grammar_constraint,
    json_schema_constraint,
    response_format_constraint,
)

OPEN, CLOSE = "<tool_call>", "</tool_call>"
BETWEEN_CALLS = re.compile(f"(?<={CLOSE})\n(?={OPEN}\n)")
MAX_CALLS = 8
ANY_ANSWER = f"/(?s:.*)/ & ~/(?s:{OPEN}.*)/"
ANY_GIVEN = "/(?s:.*)/ & ~/(?s:.*<\\/tool_call>.*)/"
NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
FORMAT_PART = "response_format"
"""The name of the rule for an answer without calls. Those for what tools are given begin otherwise."""
INTRODUCTION = """# Tools

You may call one or more of these tools:
<tools>
{tools}
</tools>

A call is a JSON object with the tool's name and its arguments, within tags:
<tool_call>
{{"name": <name>, "arguments": <arguments>}}
</tool_call>"""


@dataclass(frozen=True)
class ToolCall:
    """A call that a model wrote: the arguments of a function as JSON, or the text for a custom tool."""

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

    def introduction(self) -> str:
        """What the model is told of the tools."""
        tools = (tool.model_dump(exclude_none=True) for tool in self.by_name.values())
        return INTRODUCTION.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))

    def constraint(self, response_format: Any) -> Constraint:
        """What an answer must be: calls, or else, where none is required, a text of the format that is asked for.

        Raises:
            ApiError: a schema is missing or not JSON.
        """
        parts: dict[str, Constraint] = {}

        def named(name: str, rule: Constraint | None, otherwise: str) -> str:
            if rule is None:
                return otherwise
            parts[name] = rule
            return f"@{name}"

        calls = []
        for name, tool in self.by_name.items():
            before, after = _frame(name, isinstance(tool, CustomTool))
            given = named(f"tool-{name}", _given(tool), "ANY_GIVEN")
            calls.append(f"({json.dumps(before)} {given} {json.dumps(after)})")
        answer = (
            [] if self.is_required else [named(FORMAT_PART, response_format_constraint(response_format), "ANY_ANSWER")]
        )
        lines = [
            f"start: {' | '.join([*answer, 'calls'])}",
            "calls: call" + (f' ("\\n" call){{0,{MAX_CALLS - 1}}}' if self.is_parallel else ""),
            f"call: {' | '.join(calls)}",
            f"ANY_ANSWER: {ANY_ANSWER}",
            f"ANY_GIVEN: {ANY_GIVEN}",
        ]
        return Constraint("grammar", "\n".join(lines), parts)

    def parse(self, text: str) -> tuple[str | None, list[ToolCall]]:
        """The words of an answer, or the calls that it consists of; the last call may be cut off."""
        if not text.startswith(OPEN):
            return text, []
        calls = []
        for part in BETWEEN_CALLS.split(text):
            for name, tool in self.by_name.items():
                is_custom = isinstance(tool, CustomTool)
                before, after = _frame(name, is_custom)
                if part.startswith(before):
                    calls.append(ToolCall(name, part.removeprefix(before).removesuffix(after), is_custom))
        return (None, calls) if calls else (text, [])


def render_call(name: str, given: str, is_custom: bool = False) -> str:
    """A call as a model writes it, for a conversation that has one."""
    before, after = _frame(name, is_custom)
    return f"{before}{given}{after}"


def resolve_tools(body: ChatCompletionRequest) -> Toolset | None:
    """The tools of a request that may be called, those of the older form too; nothing where there are none.

    Raises:
        ApiError: they are not sound, or both forms are there.
    """
    if body.functions and body.tools:
        raise refused("functions", "it is the older form of tools: give one of them")
    if body.function_call is not None and not body.functions:
        raise refused("function_call", "it needs functions")
    tools: Sequence[Tool] = body.tools or []
    choice: ToolChoice | None = body.tool_choice
    if body.functions:
        tools = [FunctionTool(type="function", function=function) for function in body.functions]
        named = body.function_call
        choice = (
            named
            if named is None or isinstance(named, str)
            else FunctionChoice.model_validate({"type": "function", "function": {"name": named.name}})
        )
    if choice is not None and choice not in ("none", "auto") and not tools:
        raise refused("tool_choice", "it needs tools")
    if body.parallel_tool_calls is not None and not tools:
        raise refused("parallel_tool_calls", "it needs tools")
    if not tools:
        return None
    toolset = Toolset(tools, choice, body.parallel_tool_calls is not False and not body.functions)
    return None if choice == "none" else toolset


def _chosen(choice: FunctionChoice | CustomChoice) -> str:
    return choice.function.name if isinstance(choice, FunctionChoice) else choice.custom.name


def _frame(name: str, is_custom: bool) -> tuple[str, str]:
    """What stands before what a tool is given, and after it."""
    if is_custom:
        return f"{OPEN}\n{name}: ", f"\n{CLOSE}"
    return f'{OPEN}\n{{"name": "{name}", "arguments": ', f"}}\n{CLOSE}"


def _given(tool: FunctionTool | CustomTool) -> Constraint | None:
    """What a tool may be given; nothing where that is any text."""
    if isinstance(tool, FunctionTool):
        return json_schema_constraint(tool.function.parameters or NO_ARGUMENTS, "tools")
    form = tool.custom.format
    return None if form is None or form.type == "text" else grammar_constraint(form.grammar)
