"""Tools and calls of them as text: how they are described to a model, and how it writes its calls.

The form is that of Qwen's and Hermes' models, `<tool_call>` around a JSON object. A chat template that knows tools
writes them itself; for any other they are texts of the conversation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptsmith.base.json_text import json_text

OPEN, CLOSE = "<tool_call>", "</tool_call>"
FUNCTIONS = "functions."
"""What precedes the name of a tool in the header of a message to it (see `gptsmith.text.channels`)."""
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
class CallFrame:
    """The text around the input of a tool in a call of it."""

    name: str
    is_custom: bool

    @property
    def before(self) -> str:
        return f"{OPEN}\n{self.name}: " if self.is_custom else f'{OPEN}\n{{"name": "{self.name}", "arguments": '

    @property
    def after(self) -> str:
        return f"\n{CLOSE}" if self.is_custom else f"}}\n{CLOSE}"

    def cut_input(self, text: str) -> str:
        """The input at the beginning of a text that is cut off before the end of the call."""
        if self.is_custom:
            counts = range(len(self.after) - 1, 0, -1)
            return next((text[:-count] for count in counts if text.endswith(self.after[:count])), text)
        try:
            _, end = json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            return text
        return text[:end] if self.after.startswith(text[end:]) else text


def render_call(name: str, content: str, is_custom: bool = False) -> str:
    """A call as a model generates it, for a conversation that contains one."""
    frame = CallFrame(name, is_custom)
    return f"{frame.before}{content}{frame.after}"


def introduction(tools: Iterable[Mapping[str, Any]]) -> str:
    """The description of some tools, for the system message."""
    return INTRODUCTION.format(tools="\n".join(json_text(tool, ensure_ascii=False) for tool in tools))


def answer_text(message: Mapping[str, Any]) -> str:
    """What the assistant says in a turn, and the calls of functions in it, as text."""
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    written = [render_call(call["name"], _arguments_text(call["arguments"])) for call in calls]
    return "\n".join(filter(None, [message["content"], *written]))


def _arguments_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json_text(arguments, ensure_ascii=False)


def with_tools_as_text(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """A conversation for a template that knows no tools: they are described at the end of the system's turn, and calls
    are a part of what the assistant says."""
    shown = [
        {**{name: value for name, value in message.items() if name != "tool_calls"}, "content": answer_text(message)}
        if message.get("tool_calls")
        else message
        for message in messages
    ]
    if not tools:
        return shown
    text = introduction(tools)
    if shown and shown[0]["role"] == "system":
        return [{**shown[0], "content": f"{shown[0]['content']}\n\n{text}"}, *shown[1:]]
    return [{"role": "system", "content": text}, *shown]


PROBED_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "probed_tool",
        "description": "probed description",
        "parameters": {
            "type": "object",
            "properties": {"probed_name": {"type": "string", "description": "probed meaning"}},
            "required": ["probed_name"],
        },
    },
}
PROBED_CALL: dict[str, Any] = {
    "id": "probed001",
    "type": "function",
    "function": {"name": "probed_tool", "arguments": {"probed_name": "probed value"}},
}
PROBED_CONVERSATION: tuple[Mapping[str, Any], ...] = (
    {"role": "user", "content": "probed question"},
    {"role": "assistant", "content": "", "tool_calls": [PROBED_CALL]},
    {"role": "tool", "name": "probed_tool", "tool_call_id": "probed001", "content": "probed result"},
)
"""A conversation that shows how a template writes a tool, a call of it and its result."""
WRITTEN_IF_KNOWN = ("probed description", "probed value", "probed result")


def knows_tools(rendered: str) -> bool:
    """Whether a template wrote the tool, the call and the result of the probed conversation."""
    return all(text in rendered for text in WRITTEN_IF_KNOWN)


def has_known_call(rendered: str) -> bool:
    """Whether it wrote the call in a form that is read here: with tags, or as a message to the function."""
    arguments = json_text(PROBED_CALL["function"]["arguments"])
    return render_call("probed_tool", arguments) in rendered or f" to={FUNCTIONS}probed_tool<|channel|>" in rendered
