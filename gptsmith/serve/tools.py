"""Tools: what a model is told of them, the grammar that its calls keep to, and the calls in what it wrote.

The form is that of Qwen's and Hermes' models, `<tool_call>` around a JSON object. It is laid into a conversation as
text, so that any template takes it; the grammar makes sure that the arguments are of the tool's schema.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.generate.request import Constraint
from gptsmith.serve.bodies import (
    AllowedChoice,
    ChatBody,
    CustomChoice,
    CustomTool,
    FunctionChoice,
    FunctionTool,
    LarkFormat,
    RegexFormat,
    Tool,
    ToolChoice,
)
from gptsmith.serve.errors import refused, unsupported

OPEN, CLOSE = "<tool_call>", "</tool_call>"
MAX_CALLS = 8
ANY_TEXT = f"/(?s:.*)/ & ~/(?s:{OPEN}.*)/"
STYLE = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
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
        """What an answer must be: calls, or else, where none is required, a text of the format that is asked for."""
        rules = [f"call_{number}" for number in range(len(self.by_name))]
        repeat = f'("\\n" call){{0,{MAX_CALLS - 1}}}' if self.is_parallel else ""
        lines = [f"calls: call {repeat}", f"call: {' | '.join(rules)}"]
        for rule, (name, tool) in zip(rules, self.by_name.items(), strict=True):
            before, after = _frame(name, isinstance(tool, CustomTool))
            lines += [f"{rule}: {_quoted(before)} {rule}_given {_quoted(after)}", *_given(f"{rule}_given", tool)]
        if self.is_required:
            lines.insert(0, "start: calls")
        else:
            lines = ["start: answer | calls", *_answer(response_format), *lines]
        return Constraint("grammar", "\n".join(lines))

    def parse(self, text: str) -> tuple[str | None, list[ToolCall]]:
        """The words of an answer, or the calls that it consists of; the last call may be cut off."""
        if not text.startswith(OPEN):
            return text, []
        calls = []
        for part in text.split(f"{OPEN}\n")[1:]:
            for name, tool in self.by_name.items():
                is_custom = isinstance(tool, CustomTool)
                before, after = _frame(name, is_custom)
                if f"{OPEN}\n{part}".startswith(before):
                    given = part[len(before) - len(OPEN) - 1 :].removesuffix("\n").removesuffix(after)
                    calls.append(ToolCall(name, given, is_custom))
        return (None, calls) if calls else (text, [])


def call_text(name: str, given: str, is_custom: bool = False) -> str:
    """A call as a model writes it, for a conversation that has one."""
    before, after = _frame(name, is_custom)
    return f"{before}{given}{after}"


def tools_of(body: ChatBody) -> Toolset | None:
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


def _quoted(text: str) -> str:
    return json.dumps(text)


def _regex(pattern: str) -> str:
    """A pattern between slashes."""
    return "/" + pattern.replace("\\/", "/").replace("/", "\\/") + "/"


def _given(rule: str, tool: FunctionTool | CustomTool) -> list[str]:
    """The rule for what a tool is given."""
    if isinstance(tool, FunctionTool):
        schema = tool.function.parameters or {"type": "object", "properties": {}, "additionalProperties": False}
        return [f"{rule}: %json {_schema(schema, 'tools')}"]
    form = tool.custom.format
    if form is None or form.type == "text":
        return [f"{rule}: {rule.upper()}", f"{rule.upper()}: /(?s:.*)/ & ~/(?s:.*<\\/tool_call>.*)/"]
    if form.grammar.syntax == "lark":
        raise unsupported("tools", "a custom tool's format may be a regex here, not a lark grammar")
    return [f"{rule}: {rule.upper()}", f"{rule.upper()}: {_regex(form.grammar.definition)}"]


def _answer(response_format: Any) -> list[str]:
    """The rule for an answer without calls."""
    if response_format is None or response_format.type == "text":
        return ["answer: TEXT", f"TEXT: {ANY_TEXT}"]
    if isinstance(response_format, LarkFormat):
        raise unsupported("response_format", "a grammar does not go together with tools: require a call, or drop one")
    if isinstance(response_format, RegexFormat):
        return ["answer: TEXT", f"TEXT: {_regex(response_format.regex)}"]
    is_schema = response_format.type == "json_schema"
    schema = response_format.json_schema.schema_ if is_schema else {"type": "object"}
    return [f"answer: %json {_schema(schema or {}, 'response_format')}"]


def _schema(schema: dict[str, Any], param: str) -> str:
    try:
        return json.dumps({**schema, **STYLE}, allow_nan=False)
    except ValueError:
        raise refused(param, "a schema has a number that is not finite") from None
