"""Tools: how they are described to a model, the grammar of its calls, and the calls in a generated text.

The form is that of Qwen's and Hermes' models, `<tool_call>` around a JSON object. Calls stand in a conversation as
text, so that any template takes them; the grammar makes sure that arguments are of the tool's schema.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.base.json_text import json_text
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
    ToolName,
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
ANY_INPUT = "/(?s:.*)/ & ~/(?s:.*<\\/tool_call>.*)/"
NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
FORMAT_PART = "response_format"
"""The name of the constraint of an answer without calls. Those of the input of tools begin differently."""
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

    def introduction(self) -> str:
        """The description of the tools for the system message."""
        tools = (tool.model_dump(exclude_none=True) for tool in self.by_name.values())
        return INTRODUCTION.format(tools="\n".join(json_text(tool, ensure_ascii=False) for tool in tools))

    def constraint(self, response_format: Any) -> Constraint:
        """The constraint of an answer: calls, or, if none is required, a text of the response format.

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
            given = named(f"tool-{name}", _input_constraint(tool), "ANY_INPUT")
            calls.append(f"({json_text(before)} {given} {json_text(after)})")
        answer = (
            [] if self.is_required else [named(FORMAT_PART, response_format_constraint(response_format), "ANY_ANSWER")]
        )
        lines = [
            f"start: {' | '.join([*answer, 'calls'])}",
            "calls: call" + (f' ("\\n" call){{0,{MAX_CALLS - 1}}}' if self.is_parallel else ""),
            f"call: {' | '.join(calls)}",
            f"ANY_ANSWER: {ANY_ANSWER}",
            f"ANY_INPUT: {ANY_INPUT}",
        ]
        return Constraint("grammar", "\n".join(lines), parts)

    def parse(self, text: str) -> tuple[str | None, list[ToolCall]]:
        """The content of a text, or the calls that it consists of; the last call may be incomplete."""
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


def render_call(name: str, content: str, is_custom: bool = False) -> str:
    """A call as a model generates it, for a conversation that contains one."""
    before, after = _frame(name, is_custom)
    return f"{before}{content}{after}"


def resolve_tools(body: ChatCompletionRequest) -> Toolset | None:
    """The tools of a request for a chat completion, those of the older form too; None if none may be called.

    Raises:
        ApiError: they are not allowed, or both forms are there.
    """
    if body.functions and body.tools:
        raise refused("functions", "it is the older form of tools: give one of them")
    if body.function_call is not None and not body.functions:
        raise refused("function_call", "it needs functions")
    if not body.functions:
        return make_toolset(body.tools or [], body.tool_choice, body.parallel_tool_calls)
    named = body.function_call
    choice: ToolChoice | None = (
        FunctionChoice(type="function", function=named) if isinstance(named, ToolName) else named
    )
    tools = [FunctionTool(type="function", function=function) for function in body.functions]
    return make_toolset(tools, choice, False)


def make_toolset(tools: Sequence[Tool], choice: ToolChoice | None, is_parallel: bool | None) -> Toolset | None:
    """The tools that may be called; None if there are none.

    Raises:
        ApiError: there are none, but a choice among them; or they are not allowed.
    """
    if choice is not None and choice not in ("none", "auto") and not tools:
        raise refused("tool_choice", "it needs tools")
    if is_parallel is not None and not tools:
        raise refused("parallel_tool_calls", "it needs tools")
    if not tools:
        return None
    toolset = Toolset(tools, choice, is_parallel is not False)
    return None if choice == "none" else toolset


class ToolCallStream:
    """Text and tool calls of a sequence that is being generated. Text is held back while it may be the beginning of a
    call; calls come whole, at the end."""

    def __init__(self, toolset: Toolset | None) -> None:
        self.toolset = toolset
        self._held = ""
        self._is_text = toolset is None

    def feed(self, text: str, is_last: bool) -> tuple[str, list[ToolCall]]:
        """The text that can be sent now, or at the end the calls."""
        if self.toolset is None or self._is_text:
            return text, []
        self._held += text
        if not OPEN.startswith(self._held[: len(OPEN)]) or (is_last and not self._held.startswith(OPEN)):
            self._is_text = True
            return self._held, []
        if not is_last:
            return "", []
        content, calls = self.toolset.parse(self._held)
        return content or "", calls


def _chosen(choice: FunctionChoice | CustomChoice) -> str:
    return choice.function.name if isinstance(choice, FunctionChoice) else choice.custom.name


def _frame(name: str, is_custom: bool) -> tuple[str, str]:
    """The text before the input of a tool, and after it."""
    if is_custom:
        return f"{OPEN}\n{name}: ", f"\n{CLOSE}"
    return f'{OPEN}\n{{"name": "{name}", "arguments": ', f"}}\n{CLOSE}"


def _input_constraint(tool: FunctionTool | CustomTool) -> Constraint | None:
    """The constraint on the input of a tool; None if it may be any text."""
    if isinstance(tool, FunctionTool):
        return json_schema_constraint(tool.function.parameters or NO_ARGUMENTS, "tools")
    form = tool.custom.format
    return None if form is None or form.type == "text" else grammar_constraint(form.grammar)
